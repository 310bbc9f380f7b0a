//! HTTP/1.1 messages as bytes: head and framing of the body, as far as the application API and
//! the config center need them.
