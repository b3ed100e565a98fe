//! A timer of the runtime's own. On Linux it is the kernel's (`timerfd`), exact to some
//! microseconds; elsewhere tokio's, which rounds up to a millisecond.

#[cfg(target_os = "linux")]
pub(super) use exact::Timer;
#[cfg(not(target_os = "linux"))]
pub(super) use rounded::Timer;

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
    pub struct Timer(AsyncFd<OwnedFd>);

    impl Timer {
        /// One that rings on the runtime that the caller is in.
        pub fn new() -> Timer {
            let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
            let fd = timerfd_create(TimerfdClockId::Monotonic, flags);
            let fd = fd.expect("the system lets us have one descriptor");
            // SAFETY: the descriptor is open, and the `AsyncFd` owns it until it is dropped.
            let registered = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
            Timer(registered.expect("the runtime drives descriptors"))
        }

        /// Rings once `after` from now, and not when it was to ring before.
        pub fn set(&self, after: Duration) {
            // Zero would mean never.
            let after = after.max(Duration::from_nanos(1));
            let it_value =
                Timespec { tv_sec: after.as_secs() as i64, tv_nsec: after.subsec_nanos().into() };
            let it_interval = Timespec { tv_sec: 0, tv_nsec: 0 };
            let time = Itimerspec { it_interval, it_value };
            timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &time).expect("a good time");
        }

        /// Waits until it rings.
        pub async fn ring(&self) {
            let rung = self.0.readable().await;
            // Setting it again is what takes back that it may be read.
            rung.expect("the runtime lives as long as whoever waits").clear_ready();
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod rounded {
    use std::time::{Duration, Instant};

    use tokio::sync::watch;
    use tokio::time::sleep_until;

    #[derive(Debug)]
    pub struct Timer(watch::Sender<Option<Instant>>);

    impl Timer {
        /// One that rings on the runtime that the caller is in.
        pub fn new() -> Timer {
            Timer(watch::Sender::new(None))
        }

        /// Rings once `after` from now, and not when it was to ring before.
        pub fn set(&self, after: Duration) {
            self.0.send_replace(Some(Instant::now() + after));
        }

        /// Waits until it rings.
        pub async fn ring(&self) {
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
