//! The timer of a runtime's clock. On Linux it is a `timerfd`, precise to some microseconds;
//! elsewhere it is tokio's, which rounds up to a millisecond.

#[cfg(target_os = "linux")]
pub(super) use exact::KernelTimer;
#[cfg(not(target_os = "linux"))]
pub(super) use rounded::KernelTimer;

#[cfg(target_os = "linux")]
mod exact {
    use std::os::fd::OwnedFd;
    use std::time::Duration;

    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    };
    use tokio::io::Interest;
    use tokio::io::unix::AsyncFd;

    #[derive(Debug)]
    pub struct KernelTimer(AsyncFd<OwnedFd>);

    impl KernelTimer {
        /// A timer on the current runtime.
        pub fn new() -> KernelTimer {
            let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
            let fd = timerfd_create(TimerfdClockId::Monotonic, flags);
            let fd = fd.expect("a file descriptor is available");
            // SAFETY: the descriptor is open, and the `AsyncFd` owns it until it is dropped.
            let registered = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
            KernelTimer(registered.expect("the runtime drives descriptors"))
        }

        /// Expires once, `after` from now, instead of when it was set to expire before.
        pub fn set(&self, after: Duration) {
            // Zero would mean never.
            let after = after.max(Duration::from_nanos(1));
            let it_value =
                Timespec { tv_sec: after.as_secs() as i64, tv_nsec: after.subsec_nanos().into() };
            let it_interval = Timespec { tv_sec: 0, tv_nsec: 0 };
            let time = Itimerspec { it_interval, it_value };
            timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &time).expect("a good time");
        }

        /// Waits until it expires.
        pub async fn expired(&self) {
            let readable = self.0.readable().await;
            // Setting the timer again resets the descriptor, so it need not be read.
            readable.expect("the runtime is running").clear_ready();
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod rounded {
    use std::time::{Duration, Instant};

    use tokio::sync::watch;
    use tokio::time::sleep_until;

    #[derive(Debug)]
    pub struct KernelTimer(watch::Sender<Option<Instant>>);

    impl KernelTimer {
        /// A timer on the current runtime.
        pub fn new() -> KernelTimer {
            KernelTimer(watch::Sender::new(None))
        }

        /// Expires once, `after` from now, instead of when it was set to expire before.
        pub fn set(&self, after: Duration) {
            self.0.send_replace(Some(Instant::now() + after));
        }

        /// Waits until it expires.
        pub async fn expired(&self) {
            let mut changes = self.0.subscribe();
            loop {
                let due = *changes.borrow_and_update();
                let sleep = async {
                    match due {
                        Some(due) => sleep_until(due.into()).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    () = sleep => break,
                    changed = changes.changed() => changed.expect("we hold the sender"),
                }
            }
            self.0.send_if_modified(|due| {
                let is_over = due.is_some_and(|due| due <= Instant::now());
                *due = due.filter(|_| !is_over);
                is_over
            });
        }
    }
}
