//! Every seeded bug: seen with its switch, absent without it.

mod crc_dropped;
mod foreign_frame_held;
mod half_open_leak;
mod id_collision;
mod oneway_answered;
mod reply_version;
mod timeout_ignored;
