"""Runs a program that may not make these system calls: deny.py NAME,NAME PROGRAM ARGUMENT…

They fail with EPERM, as under the seccomp profiles of container engines. `user-namespace` stands
for a clone that asks for one.
"""

import ctypes
import os
import platform
import struct
import sys

NUMBERS = {
    "x86_64": {"unshare": 272, "mount": 165, "setns": 308, "clone": 56, "bind": 49},
    "aarch64": {"unshare": 97, "mount": 40, "setns": 268, "clone": 220, "bind": 200},
}[platform.machine()]

LOAD, JUMP_EQUAL, JUMP_BITS, RETURN = 0x20, 0x15, 0x45, 0x06
ALLOW, EPERM = 0x7FFF0000, 0x00050001
CLONE_NEWUSER = 0x10000000

program = [(LOAD, 0, 0, 0)]
for name in sys.argv[1].split(","):
    if name == "user-namespace":
        # The number, then the low half of the flags.
        program += [
            (JUMP_EQUAL, 0, 4, NUMBERS["clone"]),
            (LOAD, 0, 0, 16),
            (JUMP_BITS, 0, 1, CLONE_NEWUSER),
            (RETURN, 0, 0, EPERM),
            (LOAD, 0, 0, 0),
        ]
    else:
        program += [(JUMP_EQUAL, 0, 1, NUMBERS[name]), (RETURN, 0, 0, EPERM)]
program.append((RETURN, 0, 0, ALLOW))

code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in program))
header = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program), ctypes.addressof(code)))
PR_SET_SECCOMP, SECCOMP_MODE_FILTER, PR_SET_NO_NEW_PRIVS = 22, 2, 38
libc = ctypes.CDLL(None, use_errno=True)
for step in ((PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, header, 0, 0)):
    if libc.prctl(*step) != 0:
        sys.exit(f"deny.py: {os.strerror(ctypes.get_errno())}")
os.execvp(sys.argv[2], sys.argv[2:])
