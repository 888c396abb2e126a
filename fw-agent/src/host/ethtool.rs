//! What a network device is and can do, by the ethtool ioctl (linux/ethtool.h).

use std::ffi::{CStr, c_char};
use std::io;

use rustix::fd::AsRawFd;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

/// linux/sockios.h
const SIOCETHTOOL: libc::Ioctl = 0x8946;
/// Commands of linux/ethtool.h.
const ETHTOOL_GDRVINFO: u32 = 0x03;
const ETHTOOL_SGRO: u32 = 0x2c;
const ETHTOOL_GCHANNELS: u32 = 0x3c;
const ETHTOOL_SCHANNELS: u32 = 0x3d;

/// A structure that the ioctl takes.
///
/// # Safety
///
/// The type is `repr(C)`, begins with the command, has the layout of the structure that the kernel reads and writes for each
/// command that is put into it, and any bytes are a value of it.
unsafe trait Request {}

/// `struct ethtool_value`.
#[repr(C)]
struct EthtoolValue {
    cmd: u32,
    data: u32,
}
// SAFETY: as the kernel's, for commands that set a value.
unsafe impl Request for EthtoolValue {}

/// `struct ethtool_drvinfo`.
#[repr(C)]
struct DriverInfo {
    cmd: u32,
    driver: [c_char; 32],
    version: [c_char; 32],
    firmware: [c_char; 32],
    bus: [c_char; 32],
    expansion_rom: [c_char; 32],
    reserved: [c_char; 12],
    counts: [u32; 5],
}
// SAFETY: as the kernel's, 196 bytes.
unsafe impl Request for DriverInfo {}

/// `struct ethtool_channels`.
#[repr(C)]
#[derive(Default)]
struct EthtoolChannels {
    cmd: u32,
    max: [u32; 4],
    rx: u32,
    tx: u32,
    other: u32,
    combined: u32,
}
// SAFETY: as the kernel's.
unsafe impl Request for EthtoolChannels {}

/// The driver of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Driver {
    /// Its name, such as `ena`.
    pub name: String,
    /// Its version. Drivers of the kernel's own tree have that of the kernel.
    pub version: String,
}

/// How many pairs of queues a device has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Channels {
    /// Pairs in use.
    pub combined: u32,
    /// Pairs that it could have.
    pub max: u32,
}

/// Turns generic receive offload on or off. A veth device without a program receives redirected frames only while it is
/// on, because it then polls with NAPI.
///
/// # Errors
/// What the kernel says.
pub fn set_gro(device: &str, on: bool) -> io::Result<()> {
    call(device, &mut EthtoolValue { cmd: ETHTOOL_SGRO, data: u32::from(on) })
}

/// The driver of a device.
///
/// # Errors
/// What the kernel says.
pub fn driver(device: &str) -> io::Result<Driver> {
    // SAFETY: any bytes are a value.
    let mut info: DriverInfo = unsafe { std::mem::zeroed() };
    info.cmd = ETHTOOL_GDRVINFO;
    call(device, &mut info)?;
    Ok(Driver { name: text(&info.driver), version: text(&info.version) })
}

/// The queues of a device; `None` if its driver has no such setting.
///
/// # Errors
/// What the kernel says.
pub fn channels(device: &str) -> io::Result<Option<Channels>> {
    let mut channels = EthtoolChannels { cmd: ETHTOOL_GCHANNELS, ..EthtoolChannels::default() };
    match call(device, &mut channels) {
        Ok(()) => {
            let [_, _, _, max] = channels.max;
            Ok(Some(Channels { combined: channels.combined, max }))
        }
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Sets the number of pairs of queues.
///
/// # Errors
/// What the kernel says.
pub fn set_channels(device: &str, combined: u32) -> io::Result<()> {
    let mut channels = EthtoolChannels { cmd: ETHTOOL_GCHANNELS, ..EthtoolChannels::default() };
    call(device, &mut channels)?;
    channels.cmd = ETHTOOL_SCHANNELS;
    channels.combined = combined;
    call(device, &mut channels)
}

fn call<T: Request>(device: &str, argument: &mut T) -> io::Result<()> {
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    // SAFETY: all zeroes is a valid `ifreq`.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if device.len() >= request.ifr_name.len() {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(device.bytes()) {
        *to = c_char::from_ne_bytes([from]);
    }
    request.ifr_ifru.ifru_data = std::ptr::from_mut(argument).cast();
    // SAFETY: `request` names the device with a terminating zero and points to a value of the layout that the command reads
    // and writes; both outlive the call, and the kernel keeps no reference.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The text in front of the first zero.
fn text(field: &[c_char]) -> String {
    let bytes: Vec<u8> = field.iter().map(|byte| byte.to_ne_bytes()[0]).chain([0]).collect();
    CStr::from_bytes_until_nul(&bytes).map(|text| text.to_string_lossy().into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_structures_are_as_large_as_the_kernels() {
        assert_eq!((size_of::<DriverInfo>(), size_of::<EthtoolChannels>()), (196, 36));
    }

    #[test]
    fn texts_end_at_a_zero_or_with_their_field() {
        let field = |bytes: &[u8]| bytes.iter().map(|byte| c_char::from_ne_bytes([*byte])).collect::<Vec<_>>();
        assert_eq!(text(&field(b"ena\0rest")), "ena");
        assert_eq!(text(&field(b"full")), "full");
    }

    #[test]
    fn what_is_no_device_is_an_error() {
        assert!(driver("no-such-device").is_err());
        assert_eq!(driver("a-name-that-is-too-long").unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
