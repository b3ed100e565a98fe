//! The TUN device, created with a few ioctl calls and one netlink message. The crate `tappers` has
//! no call that sets the length of the device's queue, and depends on the Windows API everywhere.

use std::ffi::CStr;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use libc::{c_char, c_int, c_short, c_ulong};

/// The device that creates TUN devices.
pub(super) const CLONE_DEVICE: &str = "/dev/net/tun";
/// Maximum number of packets that wait in the device for the link's thread; the kernel drops
/// further ones.
const QUEUE_PACKETS: u32 = 20_000;
const NAME: &CStr = c"link0";

/// A TUN device, removed when this is dropped.
#[derive(Debug)]
pub(super) struct Tun(File);

impl Tun {
    /// Creates the device in the current network namespace and brings it up with `address`, in
    /// whose /16 it transfers packets.
    ///
    /// # Errors
    /// Errors of the system.
    pub fn create(address: Ipv4Addr) -> io::Result<Tun> {
        let file = open_clone_device()?;
        let mut request = Request::named(NAME);
        // IFF_NO_PI: packets without an additional header.
        request.0.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as c_short;
        request.perform(file.as_raw_fd(), libc::TUNSETIFF as c_ulong)?;
        let socket = control_socket()?;
        for (number, address) in
            [(libc::SIOCSIFADDR, address), (libc::SIOCSIFNETMASK, Ipv4Addr::new(255, 255, 0, 0))]
        {
            let mut request = Request::named(NAME);
            request.0.ifr_ifru.ifru_addr = socket_address(address);
            request.perform(socket.as_raw_fd(), number as c_ulong)?;
        }
        set_queue_length(NAME, QUEUE_PACKETS)?;
        bring_up(&socket, NAME)?;
        Ok(Tun(file))
    }

    /// Reads a packet; [`io::ErrorKind::WouldBlock`] if there is none.
    pub fn read(&mut self, packet: &mut [u8]) -> io::Result<usize> {
        self.0.read(packet)
    }

    /// Writes a packet to the kernel.
    pub fn write(&mut self, packet: &[u8]) -> io::Result<()> {
        self.0.write(packet).map(drop)
    }
}

impl AsRawFd for Tun {
    fn as_raw_fd(&self) -> c_int {
        self.0.as_raw_fd()
    }
}

/// Packets that the kernel dropped because the device's queue was full.
pub(super) fn missed() -> u64 {
    let text = std::fs::read_to_string("/proc/self/net/dev").unwrap_or_default();
    let name = format!("{}:", NAME.to_str().expect("plain ASCII"));
    let line = text.lines().find_map(|line| line.trim().strip_prefix(&name));
    // The eight columns of received packets precede those of sent ones: bytes, packets, errors,
    // dropped.
    let dropped = line.and_then(|columns| columns.split_whitespace().nth(11)?.parse().ok());
    dropped.unwrap_or(0)
}

/// Opens `/dev/net/tun` in non-blocking mode.
pub(super) fn open_clone_device() -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open(CLONE_DEVICE)
}

/// Brings up the loopback device, which is down in a new namespace.
pub(super) fn bring_up_loopback() -> io::Result<()> {
    bring_up(&control_socket()?, c"lo")
}

fn bring_up(socket: &OwnedFd, name: &CStr) -> io::Result<()> {
    let mut request = Request::named(name);
    request.0.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as c_short;
    request.perform(socket.as_raw_fd(), libc::SIOCSIFFLAGS as c_ulong)
}

/// Sets the length of the device's queue to `packets` by netlink (rtnetlink(7)): the ioctl requires
/// privileges on the machine.
fn set_queue_length(name: &CStr, packets: u32) -> io::Result<()> {
    const FLAGS: u16 = (libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16;
    const LENGTH: u32 = 40;
    // SAFETY: the pointer is to a null-terminated string.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    let mut message = Vec::with_capacity(LENGTH as usize);
    // struct nlmsghdr: length, type, flags, sequence number, sender.
    message.extend(LENGTH.to_ne_bytes());
    message.extend(libc::RTM_SETLINK.to_ne_bytes());
    message.extend(FLAGS.to_ne_bytes());
    message.extend([0; 8]);
    // struct ifinfomsg: family and type, index, flags and their mask.
    message.extend([0; 4]);
    message.extend(index.to_ne_bytes());
    message.extend([0; 8]);
    // struct rtattr: length, type, value.
    message.extend(8u16.to_ne_bytes());
    message.extend(libc::IFLA_TXQLEN.to_ne_bytes());
    message.extend(packets.to_ne_bytes());

    let mut socket = File::from(open_socket(libc::AF_NETLINK, libc::SOCK_RAW)?);
    socket.write_all(&message)?;
    let mut answer = [0; 128];
    let length = socket.read(&mut answer)?;
    // struct nlmsgerr follows a header of 16 bytes, and begins with the negative error number.
    let error = answer[..length].get(16..20).and_then(|error| error.try_into().ok());
    match error.map(i32::from_ne_bytes) {
        Some(0) => Ok(()),
        Some(error) => Err(io::Error::from_raw_os_error(-error)),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// A socket for ioctl calls on devices.
fn control_socket() -> io::Result<OwnedFd> {
    open_socket(libc::AF_INET, libc::SOCK_DGRAM)
}

fn open_socket(family: c_int, kind: c_int) -> io::Result<OwnedFd> {
    // SAFETY: no pointer is passed, and the descriptor is checked before it is owned.
    let socket = unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC, 0) };
    if socket < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is open and has no other owner.
    Ok(unsafe { OwnedFd::from_raw_fd(socket) })
}

/// The argument of an ioctl on a device.
struct Request(libc::ifreq);

impl Request {
    fn named(name: &CStr) -> Request {
        // SAFETY: every field of the struct is a number, or a union of numbers, for which zero is
        // valid.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        for (to, from) in request.ifr_name.iter_mut().zip(name.to_bytes_with_nul()) {
            *to = *from as c_char;
        }
        Request(request)
    }

    fn perform(&mut self, descriptor: c_int, number: c_ulong) -> io::Result<()> {
        // SAFETY: every request in this file takes a pointer to an `ifreq`, which is alive here.
        let result = unsafe { libc::ioctl(descriptor, number as _, &raw mut self.0) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

fn socket_address(address: Ipv4Addr) -> libc::sockaddr {
    // Family, port 0, address in network order (struct sockaddr_in).
    let mut data = [0; 14];
    for (to, from) in data[2..6].iter_mut().zip(address.octets()) {
        *to = from as c_char;
    }
    libc::sockaddr { sa_family: libc::AF_INET as libc::sa_family_t, sa_data: data }
}
