//! Messages written.

/// A request of HTTP/1.1. `host` is `HOST:PORT`; an empty `content_type` writes none.
pub fn request(method: &str, target: &str, host: &str, content_type: &str, body: &[u8]) -> Vec<u8> {
    let start = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n");
    message(start, content_type, body)
}

/// An answer of HTTP/1.1.
pub fn response(status: u16, content_type: &str, body: &[u8]) -> Vec<u8> {
    message(
        format!("HTTP/1.1 {status} {}\r\n", reason(status)),
        content_type,
        body,
    )
}

fn message(mut head: String, content_type: &str, body: &[u8]) -> Vec<u8> {
    if !content_type.is_empty() {
        head.push_str("Content-Type: ");
        head.push_str(content_type);
        head.push_str("\r\n");
    }
    head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// What stands behind a status on the first line.
pub fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        413 => "Content Too Large",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "Other",
    }
}

/// Text as it stands in a path or a query: all but letters, digits and `-._~` is encoded.
pub fn percent_encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// The text that was encoded. What is not encoded rightly stays as it is; bytes that are not
/// UTF-8 are replaced.
pub fn percent_decode(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let digit = |at: usize| tail.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        match (byte, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                rest = tail.get(2..).unwrap_or_default();
            }
            _ => {
                out.push(byte);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_in_paths() {
        let service = "com.alipay.demo.SampleService:1.0:id";
        let encoded = percent_encode(service);
        assert_eq!(encoded, "com.alipay.demo.SampleService%3A1.0%3Aid");
        for text in [service, "", "100 %", "中文", "a/b?c=d&e"] {
            assert_eq!(percent_decode(&percent_encode(text)), text);
        }
        assert_eq!(percent_decode("%zz%4"), "%zz%4");
    }
}
