//! Every seeded bug: seen with its switch, absent without it.

mod cache_stale;
mod crc_dropped;
mod empty_push_wipes;
mod foreign_frame_held;
mod half_open_leak;
mod id_collision;
mod oneway_answered;
mod reply_version;
mod timeout_ignored;
mod tr_bolt_mixed;
mod upgrade_doubles;
mod upgrade_drops;
mod vip_legacy_form;

mod pod;
