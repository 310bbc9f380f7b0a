//! Every seeded bug: seen with its switch, absent without it.
