//! `env exec` at a terminal: the command has one of its own, and ours is left as it was.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use crate::environment::LONG;
use crate::standing::{Runs, detached};

/// What a person has before them: a terminal, and `env exec` in front of it.
struct Screen {
    master: File,
    slave: OwnedFd,
    exec: Child,
    /// What was shown and not asked for yet.
    shown: String,
}

impl Screen {
    fn open(runs: &Runs, script: &str) -> Screen {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let slave = ioctl_tiocgptpeer(&master, flags).unwrap();
        size(&master, 31, 97);
        let exec = runs.env(&["exec", "a", "--", "sh", "-c", script]);
        // The terminal must control `env exec`, or no key could reach it by mistake.
        let mut front = crate::peer::command(env!("CARGO_BIN_EXE_meshproof"));
        front
            .args(["__environment", "terminal"])
            .arg(exec.get_program())
            .args(exec.get_args())
            .current_dir(exec.get_current_dir().unwrap())
            .stdin(Stdio::from(slave.try_clone().unwrap()))
            .stdout(Stdio::from(slave.try_clone().unwrap()))
            .stderr(Stdio::from(slave.try_clone().unwrap()));
        Screen {
            exec: front.spawn().unwrap(),
            master: master.into(),
            slave,
            shown: String::new(),
        }
    }

    /// What comes up to and including `end`.
    #[track_caller]
    fn until(&mut self, end: &str) -> String {
        loop {
            if let Some(at) = self.shown.find(end) {
                let rest = self.shown.split_off(at + end.len());
                return std::mem::replace(&mut self.shown, rest);
            }
            let limit = Timespec::try_from(LONG).unwrap();
            let mut watched = [PollFd::new(&self.master, PollFlags::IN)];
            assert_eq!(
                poll(&mut watched, Some(&limit)),
                Ok(1),
                "no {end:?} in {:?}",
                self.shown
            );
            let mut bytes = [0; 4096];
            let length = self.master.read(&mut bytes).unwrap();
            self.shown
                .push_str(std::str::from_utf8(&bytes[..length]).unwrap());
        }
    }

    fn press(&mut self, keys: &[u8]) {
        self.master.write_all(keys).unwrap();
    }

    fn is_raw(&self) -> bool {
        let modes = tcgetattr(&self.slave).unwrap().local_modes;
        !modes.intersects(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
    }

    #[track_caller]
    fn ends(mut self, code: i32) {
        assert_eq!(self.exec.wait().unwrap().code(), Some(code));
        assert!(!self.is_raw(), "the terminal is not as it was");
    }
}

fn size(master: &OwnedFd, rows: u16, columns: u16) {
    let size = Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(master, size).unwrap();
}

#[test]
fn a_command_at_a_terminal_has_one_of_its_own() {
    let runs = Runs::new();
    if detached(&runs, "one").is_none() {
        return;
    }
    let mut screen = Screen::open(
        &runs,
        "tty; stty size; trap 'stty size; echo changed' WINCH; \
         echo here >/dev/tty; while [ -z \"$line\" ]; do read line; done; echo \"read $line\"; exit 7",
    );
    let named = screen.until("\r\n");
    assert!(named.starts_with("/dev/pts/"), "{named}");
    assert_eq!(screen.until("here\r\n"), "31 97\r\nhere\r\n");
    assert!(screen.is_raw());
    // The kernel tells `env exec`, which leads what is in front.
    let master = OwnedFd::from(screen.master.try_clone().unwrap());
    size(&master, 40, 120);
    screen.press(b"\n");
    let sized = screen.until("changed\r\n");
    assert!(sized.ends_with("40 120\r\nchanged\r\n"), "{sized:?}");
    screen.press(b"word\n");
    let read = screen.until("read word\r\n");
    // Shown once: by the command's terminal, not by ours.
    assert_eq!(read.matches("word").count(), 2, "{read:?}");
    screen.ends(7);
}

#[test]
fn keys_go_to_the_command_and_not_to_whoever_joins_it() {
    let runs = Runs::new();
    if detached(&runs, "one").is_none() {
        return;
    }
    // Of a Ctrl-C that somebody else had taken for a signal no byte would come.
    let mut screen = Screen::open(
        &runs,
        "stty -isig -icanon -echo min 1; echo there; head -c 1 | od -An -tx1",
    );
    screen.until("there\r\n");
    screen.press(b"\x03");
    assert_eq!(screen.until("\r\n"), " 03\r\n");
    screen.ends(0);
    // Where the command's terminal takes it for one, what is in front gets it.
    let mut screen = Screen::open(
        &runs,
        "trap 'echo heard; exit 9' INT; echo there; while :; do sleep 1000; done",
    );
    screen.until("there\r\n");
    screen.press(b"\x03");
    screen.until("heard\r\n");
    screen.ends(9);
}

#[test]
fn all_that_was_printed_is_shown_and_the_terminal_is_as_it_was() {
    let runs = Runs::new();
    if detached(&runs, "one").is_none() {
        return;
    }
    let mut screen = Screen::open(&runs, "seq 100000; echo end; exit 3");
    let shown = screen.until("end\r\n");
    assert_eq!(shown.lines().count(), 100_001);
    screen.ends(3);
    // A signal for `env exec` is the command's; what it left behind holds nobody up.
    let mut screen = Screen::open(&runs, "sleep 1000 & echo there; wait");
    screen.until("there\r\n");
    assert!(screen.is_raw());
    kill_process(Pid::from_child(&screen.exec), Signal::TERM).unwrap();
    screen.ends(128 + 15);
    // Where no command begins, and where there is nobody to ask.
    let mut screen = Screen::open(&runs, "exec /no/such");
    screen.until("not found");
    screen.ends(127);
    assert!(runs.run(&["down"]).status.success());
    let mut screen = Screen::open(&runs, "true");
    screen.until("no environment stands");
    screen.ends(2);
}
