//! The network namespace of the link. The process enters it before it has a second thread, so it
//! need not be restarted, and nothing is left behind however it ends. The servers that it starts
//! inherit the namespace.

use std::fs;
use std::io;

use rustix::process::{getegid, geteuid};
use rustix::thread::{UnshareFlags, unshare_unsafe};

use super::tun::{self, CLONE_DEVICE, Tun};
use super::{DEVICE, Unavailable};

const MODPROBE: &str = "load the kernel's module with `sudo modprobe tun`; in a container, start \
                        it with `--device /dev/net/tun`";

/// Moves this process into a new network namespace, in which packet links can be created and which
/// has only a loopback device. An unprivileged process also enters a user namespace, in which it is
/// the same user. Must be called while the process has one thread.
///
/// # Errors
/// If the system forbids it; names the setting and the remedy.
pub fn enter() -> Result<(), Unavailable> {
    // Checked before anything is changed: access to the device does not depend on the namespace.
    tun::open_clone_device().map_err(no_device)?;
    unshare().map_err(|error| no_namespace(&error))?;
    tun::bring_up_loopback().map_err(|error| no_network("bring up its loopback", &error))?;
    Tun::create(DEVICE).map_err(|error| no_network("create a TUN device there", &error))?;
    // Otherwise the kernel starts connections with metrics cached from those of earlier cells.
    // Where this cannot be set, cells affect each other slightly, which is no reason to fail.
    let _ = fs::write("/proc/sys/net/ipv4/tcp_no_metrics_save", "1");
    Ok(())
}

fn unshare() -> io::Result<()> {
    let (user, group) = (geteuid().as_raw(), getegid().as_raw());
    let network = UnshareFlags::NEWNET;
    // SAFETY: no file descriptors are unshared, which could make this call unsafe.
    match unsafe { unshare_unsafe(network) } {
        Ok(()) => return Ok(()),
        Err(rustix::io::Errno::PERM) => {}
        Err(error) => return Err(error.into()),
    }
    // SAFETY: as above.
    unsafe { unshare_unsafe(network | UnshareFlags::NEWUSER) }?;
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("{user} {user} 1"))?;
    fs::write("/proc/self/gid_map", format!("{group} {group} 1"))
}

fn no_device(error: io::Error) -> Unavailable {
    let reason = format!("{CLONE_DEVICE} cannot be opened: {error}");
    let remedy = match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "it must have mode 0666, which `sudo chmod 666 /dev/net/tun` sets; in a container, \
             start it with `--device /dev/net/tun`"
        }
        _ => MODPROBE,
    };
    Unavailable { reason, remedy: remedy.to_owned() }
}

/// The settings that forbid a namespace: the file below /proc/sys, the forbidding value, the
/// allowing value.
const SETTINGS: [(&str, &str, &str); 3] = [
    ("kernel.apparmor_restrict_unprivileged_userns", "1", "0"),
    ("kernel.unprivileged_userns_clone", "0", "1"),
    ("user.max_user_namespaces", "0", "10000"),
];

fn no_namespace(error: &io::Error) -> Unavailable {
    unavailable(format!("a user and network namespace cannot be created: {error}"), error)
}

fn no_network(what: &str, error: &io::Error) -> Unavailable {
    let reason =
        format!("a network namespace was created, but this process cannot {what}: {error}");
    unavailable(reason, error)
}

fn unavailable(reason: String, error: &io::Error) -> Unavailable {
    let read = |name: &str| {
        let path = format!("/proc/sys/{}", name.replace('.', "/"));
        fs::read_to_string(path).ok().map(|value| value.trim().to_owned())
    };
    Unavailable { reason, remedy: remedy(read, error.raw_os_error()) }
}

/// The remedy for error number `error`; `read` returns the settings of /proc/sys.
fn remedy(read: impl Fn(&str) -> Option<String>, error: Option<i32>) -> String {
    let forbids = |(name, forbidden, _): &&(&str, &str, &str)| {
        read(name).is_some_and(|value| value == *forbidden)
    };
    if let Some((name, value, allowed)) = SETTINGS.iter().find(forbids) {
        return format!(
            "{name} is {value}: set it with `sudo sysctl {name}={allowed}`, or run this as root"
        );
    }
    match error {
        Some(libc::ENOSPC) => "too many namespaces exist: raise user.max_user_namespaces and \
                               user.max_net_namespaces with `sudo sysctl`"
            .to_owned(),
        Some(libc::ENODEV | libc::ENOENT) => MODPROBE.to_owned(),
        Some(libc::EINVAL | libc::ENOSYS) => {
            "the kernel needs CONFIG_USER_NS, CONFIG_NET_NS and CONFIG_TUN".to_owned()
        }
        _ => "a container's seccomp profile may forbid it: start the container with `--cap-add \
              NET_ADMIN --cap-add SYS_ADMIN --device /dev/net/tun`, or run this outside of it"
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_setting_that_forbids_it() {
        let with = |name: &'static str, value: &'static str| {
            move |asked: &str| (asked == name).then(|| value.to_owned())
        };
        for (name, forbidden, allowed) in SETTINGS {
            let text = remedy(with(name, forbidden), Some(libc::EPERM));
            let wanted =
                format!("{name} is {forbidden}: set it with `sudo sysctl {name}={allowed}`");
            assert!(text.starts_with(&wanted), "{text}");
            let text = remedy(with(name, allowed), Some(libc::EPERM));
            assert!(text.contains("--cap-add NET_ADMIN"), "{text}");
        }
        let none = |_: &str| None;
        assert!(remedy(none, Some(libc::ENOSPC)).contains("user.max_user_namespaces"));
        assert!(remedy(none, Some(libc::ENODEV)).contains("modprobe tun"));
        assert!(remedy(none, Some(libc::EINVAL)).contains("CONFIG_USER_NS"));
    }

    #[test]
    fn error_for_an_inaccessible_device_names_the_remedy() {
        let error = |kind: io::ErrorKind| no_device(kind.into()).to_string();
        let forbidden = error(io::ErrorKind::PermissionDenied);
        assert!(forbidden.contains("sudo chmod 666 /dev/net/tun"), "{forbidden}");
        assert!(error(io::ErrorKind::NotFound).contains("sudo modprobe tun"));
    }
}
