//! One link, captured by libpcap, which is loaded when a capture begins.
//!
//! Linked in the usual way it would bring D-Bus, systemd's library and their like into every start
//! of the program: 2.4 of the 3.9 ms of processor time that a stage of an environment or a fixture
//! takes until it runs. Loaded late, it is also nothing that one must have to build or to run.
//!
//! Facts of the interface: pcap(3PCAP) and `pcap/pcap.h` of libpcap 1.10. Its shape is the same
//! since 1.5, with which nanoseconds came.

#![expect(
    unsafe_code,
    reason = "calls of a C library; each says why what it is given is right"
)]

use std::ffi::{CStr, CString, c_char, c_int, c_uint};
use std::fmt;
use std::ptr::{self, NonNull};

use libloading::Library;
use nix::libc::timeval;

/// What the library is called, the names of Linux before that of macOS.
const NAMES: [&str; 4] = [
    "libpcap.so.1",
    "libpcap.so.0.8",
    "libpcap.so",
    "libpcap.dylib",
];

/// `PCAP_ERRBUF_SIZE`.
const TEXT_BYTES: usize = 256;

/// `PCAP_TSTAMP_PRECISION_NANO`.
const NANOSECONDS: c_int = 1;

/// `PCAP_NETMASK_UNKNOWN`: only filters for broadcasts ask for one.
const NO_NETMASK: c_uint = 0xffff_ffff;

/// `PCAP_ERROR_PERM_DENIED` and `PCAP_ERROR_PROMISC_PERM_DENIED`.
const DENIED: [c_int; 2] = [-8, -11];

/// Why there is no capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The library is not there, or is not what it says it is.
    Missing(String),
    /// This process may not capture.
    Denied(String),
    /// Whatever else the library says.
    Refused(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Missing(text) | Error::Denied(text) | Error::Refused(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Error {}

/// How a link is captured.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The longest packet that is taken whole, in bytes.
    pub snaplen_bytes: i32,
    /// What the kernel holds for us, in bytes.
    pub buffer_bytes: i32,
    /// Packets are given away by blocks: one that is not full, after this.
    pub block_ms: i32,
}

/// A packet as it passed.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// When, in nanoseconds since 1970.
    pub at_ns: u64,
    /// Its length on the wire, in bytes.
    pub len: u32,
    /// What was taken of it.
    pub data: &'a [u8],
}

/// `pcap_t`.
#[repr(C)]
struct Handle {
    _private: [u8; 0],
}

/// `struct pcap_pkthdr`.
#[repr(C)]
struct Header {
    at: timeval,
    taken: c_uint,
    len: c_uint,
}

/// `struct bpf_program`.
#[repr(C)]
struct Program {
    len: c_uint,
    instructions: *mut u8,
}

/// `struct pcap_stat`.
#[derive(Default)]
#[repr(C)]
struct Stats {
    received: c_uint,
    dropped: c_uint,
    dropped_by_link: c_uint,
}

type Create = unsafe extern "C" fn(*const c_char, *mut c_char) -> *mut Handle;
type Set = unsafe extern "C" fn(*mut Handle, c_int) -> c_int;
type Ask = unsafe extern "C" fn(*mut Handle) -> c_int;
type Text = unsafe extern "C" fn(*mut Handle) -> *const c_char;
type Unblock = unsafe extern "C" fn(*mut Handle, c_int, *mut c_char) -> c_int;
type Compile =
    unsafe extern "C" fn(*mut Handle, *mut Program, *const c_char, c_int, c_uint) -> c_int;
type Filter = unsafe extern "C" fn(*mut Handle, *mut Program) -> c_int;
type Free = unsafe extern "C" fn(*mut Program);
type Next = unsafe extern "C" fn(*mut Handle, *mut *mut Header, *mut *const u8) -> c_int;
type Count = unsafe extern "C" fn(*mut Handle, *mut Stats) -> c_int;
type Close = unsafe extern "C" fn(*mut Handle);
type Version = unsafe extern "C" fn() -> *const c_char;

/// The library's functions, for as long as it is loaded.
struct Functions {
    create: Create,
    set_snaplen: Set,
    set_buffer_size: Set,
    set_timeout: Set,
    set_precision: Set,
    activate: Ask,
    set_nonblock: Unblock,
    datalink: Ask,
    compile: Compile,
    set_filter: Filter,
    free_code: Free,
    next: Next,
    stats: Count,
    error: Text,
    close: Close,
    version: Version,
    /// Goes last: the functions are in it.
    _library: Library,
}

impl Functions {
    fn load() -> Result<Functions, Error> {
        if cfg!(target_feature = "crt-static") {
            let why = "this program is the static one, which loads no libraries";
            return Err(Error::Missing(why.to_owned()));
        }
        let mut why = String::new();
        for name in NAMES {
            // SAFETY: what libpcap does when it is loaded has no demands on its caller.
            match unsafe { Library::new(name) } {
                Ok(library) => return Functions::of(library),
                // The first name is what is expected; the others only make the sentence long.
                Err(error) if why.is_empty() => why = error.to_string(),
                Err(_) => {}
            }
        }
        Err(Error::Missing(why))
    }

    fn of(library: Library) -> Result<Functions, Error> {
        /// A function by its name.
        ///
        /// # Safety
        /// `T` is the type that the library's header gives it.
        unsafe fn function<T: Copy>(library: &Library, name: &str) -> Result<T, Error> {
            // SAFETY: the caller's promise.
            let found = unsafe { library.get::<T>(name.as_bytes()) };
            let found = found.map_err(|error| Error::Missing(error.to_string()))?;
            Ok(*found)
        }
        // SAFETY: each type is that of `pcap/pcap.h`; the pointers are kept no longer than the
        // library, which stands beside them.
        unsafe {
            Ok(Functions {
                create: function(&library, "pcap_create")?,
                set_snaplen: function(&library, "pcap_set_snaplen")?,
                set_buffer_size: function(&library, "pcap_set_buffer_size")?,
                set_timeout: function(&library, "pcap_set_timeout")?,
                set_precision: function(&library, "pcap_set_tstamp_precision")?,
                activate: function(&library, "pcap_activate")?,
                set_nonblock: function(&library, "pcap_setnonblock")?,
                datalink: function(&library, "pcap_datalink")?,
                compile: function(&library, "pcap_compile")?,
                set_filter: function(&library, "pcap_setfilter")?,
                free_code: function(&library, "pcap_freecode")?,
                next: function(&library, "pcap_next_ex")?,
                stats: function(&library, "pcap_stats")?,
                error: function(&library, "pcap_geterr")?,
                close: function(&library, "pcap_close")?,
                version: function(&library, "pcap_lib_version")?,
                _library: library,
            })
        }
    }
}

/// What the library that would be loaded says of itself: `libpcap version 1.10.3 (…)`.
pub fn version() -> Result<String, Error> {
    let functions = Functions::load()?;
    // SAFETY: it takes nothing, and gives a string that stands in the library, which is loaded.
    let text = unsafe { CStr::from_ptr((functions.version)()) };
    Ok(text.to_string_lossy().into_owned())
}

/// A capture of one link that does not block.
pub struct Capture {
    functions: Functions,
    handle: NonNull<Handle>,
}

impl fmt::Debug for Capture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Capture").finish_non_exhaustive()
    }
}

impl Capture {
    /// Begins; whatever passes `link` from now on is seen. `any` is every link of this network.
    pub fn open(link: &str, options: &Options) -> Result<Capture, Error> {
        let functions = Functions::load()?;
        let name = c_string(link)?;
        let mut why = [0; TEXT_BYTES];
        // SAFETY: a string with its end, and a buffer as large as the header asks for.
        let handle = unsafe { (functions.create)(name.as_ptr(), why.as_mut_ptr()) };
        let Some(handle) = NonNull::new(handle) else {
            return Err(Error::Refused(said(&why)));
        };
        // From here on the handle is closed, whatever comes.
        let capture = Capture { functions, handle };
        let of = &capture.functions;
        let wishes = [
            (of.set_snaplen, options.snaplen_bytes),
            (of.set_buffer_size, options.buffer_bytes),
            (of.set_timeout, options.block_ms),
            (of.set_precision, NANOSECONDS),
        ];
        for (set, value) in wishes {
            // SAFETY: a handle that is made and not yet active, which is when these may be called.
            match unsafe { set(capture.handle.as_ptr(), value) } {
                0 => {}
                code => return Err(capture.failed(code)),
            }
        }
        // SAFETY: the same.
        match unsafe { (of.activate)(capture.handle.as_ptr()) } {
            // More than nothing is a warning, of a link that goes up and down, say.
            0.. => {}
            code => return Err(capture.failed(code)),
        }
        // SAFETY: an active handle, and a buffer as large as the header asks for.
        match unsafe { (of.set_nonblock)(capture.handle.as_ptr(), 1, why.as_mut_ptr()) } {
            0 => Ok(capture),
            _ => Err(Error::Refused(said(&why))),
        }
    }

    /// The type of the link, as pcap files have it.
    pub fn link_type(&self) -> i32 {
        // SAFETY: an active handle.
        unsafe { (self.functions.datalink)(self.handle.as_ptr()) }
    }

    /// Lets only these packets through, as tcpdump writes it: `port 12200`.
    pub fn filter(&mut self, text: &str) -> Result<(), Error> {
        let text = c_string(text)?;
        let mut program = Program {
            len: 0,
            instructions: ptr::null_mut(),
        };
        let (handle, of) = (self.handle.as_ptr(), &self.functions);
        // SAFETY: an active handle, a program to be written to, a string with its end.
        match unsafe { (of.compile)(handle, &mut program, text.as_ptr(), 1, NO_NETMASK) } {
            0 => {}
            code => return Err(self.failed(code)),
        }
        // SAFETY: the program that was compiled; it is copied.
        let set = unsafe { (of.set_filter)(handle, &mut program) };
        // SAFETY: the program that was compiled, once.
        unsafe { (of.free_code)(&mut program) };
        match set {
            0 => Ok(()),
            code => Err(self.failed(code)),
        }
    }

    /// The next packet; none: none waits.
    pub fn next_packet(&mut self) -> Result<Option<Packet<'_>>, Error> {
        let (mut header, mut data) = (ptr::null_mut(), ptr::null());
        // SAFETY: an active handle, and two places to be written to.
        let code = unsafe { (self.functions.next)(self.handle.as_ptr(), &mut header, &mut data) };
        match code {
            1 => {}
            0 => return Ok(None),
            code => return Err(self.failed(code)),
        }
        if header.is_null() || data.is_null() {
            return Ok(None);
        }
        // SAFETY: with 1 both were set, and hold until the next call; that one needs `self`
        // mutably, which the packet borrows.
        let (header, data) = unsafe {
            let header = &*header;
            let taken = usize::try_from(header.taken).unwrap_or_default();
            (header, std::slice::from_raw_parts(data, taken))
        };
        let seconds = u64::try_from(header.at.tv_sec).unwrap_or_default();
        // Asked for with nanoseconds, that is what they are.
        let nanos = u64::try_from(header.at.tv_usec).unwrap_or_default();
        Ok(Some(Packet {
            at_ns: seconds.saturating_mul(1_000_000_000).saturating_add(nanos),
            len: header.len,
            data,
        }))
    }

    /// Packets that passed and were not seen, for want of room.
    pub fn dropped(&mut self) -> Result<u64, Error> {
        let mut stats = Stats::default();
        // SAFETY: an active handle, and a place of the header's shape on every system but Windows.
        match unsafe { (self.functions.stats)(self.handle.as_ptr(), &mut stats) } {
            0 => Ok(u64::from(stats.dropped) + u64::from(stats.dropped_by_link)),
            code => Err(self.failed(code)),
        }
    }

    fn failed(&self, code: c_int) -> Error {
        // SAFETY: a handle that is made; the text stands in it, and is copied.
        let text = unsafe { CStr::from_ptr((self.functions.error)(self.handle.as_ptr())) };
        let mut text = text.to_string_lossy().into_owned();
        if text.is_empty() {
            text = format!("libpcap's error {code}");
        }
        match DENIED.contains(&code) {
            true => Error::Denied(text),
            false => Error::Refused(text),
        }
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        // SAFETY: the handle was made by this library, and is closed once.
        unsafe { (self.functions.close)(self.handle.as_ptr()) };
    }
}

fn c_string(text: &str) -> Result<CString, Error> {
    CString::new(text)
        .map_err(|_| Error::Refused(format!("`{}` has a zero in it", text.escape_debug())))
}

/// What the library wrote into a buffer.
fn said(text: &[c_char]) -> String {
    let bytes = text.iter().map(|letter| letter.to_ne_bytes()[0]);
    let bytes: Vec<u8> = bytes.take_while(|byte| *byte != 0).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: Options = Options {
        snaplen_bytes: 65_535,
        buffer_bytes: 1 << 20,
        block_ms: 20,
    };

    /// Where the library is not there, that is what it must say.
    fn there() -> bool {
        match version() {
            Ok(version) => {
                assert!(version.starts_with("libpcap version"), "{version}");
                true
            }
            Err(error) => {
                assert!(matches!(error, Error::Missing(_)), "{error:?}");
                false
            }
        }
    }

    #[test]
    fn what_is_wrong_is_told_and_nothing_is_opened() {
        if !there() {
            return;
        }
        let refused = Capture::open("no-such-link-0", &OPTIONS).unwrap_err();
        assert!(
            !matches!(refused, Error::Missing(_)) && !refused.to_string().is_empty(),
            "{refused:?}"
        );
        let refused = Capture::open("l\0o", &OPTIONS).unwrap_err();
        assert_eq!(refused, Error::Refused("`l\\0o` has a zero in it".into()));
    }

    #[test]
    fn a_filter_that_is_none_is_refused_with_its_fault() {
        if !there() {
            return;
        }
        match Capture::open("lo", &OPTIONS) {
            Ok(mut capture) => {
                let refused = capture.filter("prt 12200").unwrap_err();
                assert!(refused.to_string().contains("syntax error"), "{refused}");
                capture.filter("tcp port 1").unwrap();
                // Ethernet is how Linux shows its loopback.
                assert_eq!(capture.link_type(), 1);
                assert!(capture.next_packet().unwrap().is_none());
                assert_eq!(capture.dropped().unwrap(), 0);
            }
            Err(error) => assert!(matches!(error, Error::Denied(_)), "{error:?}"),
        }
    }
}
