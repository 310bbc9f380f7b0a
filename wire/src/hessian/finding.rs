//! What is wrong with a body.

use std::fmt;

/// Something in a body that the dialect does not allow, or a limit that was reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Offset in the body, in bytes.
    pub offset: usize,
    /// What is wrong there.
    pub problem: Problem,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "byte {}: {}", self.offset, self.problem)
    }
}

/// The kinds of damage.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// No value begins with this code; everything from here on is opaque.
    #[error("unknown type code 0x{code:02x}")]
    UnknownCode {
        /// The code.
        code: u8,
    },
    /// A length or an index must be an int, and this code begins none.
    #[error("expected an int, found code 0x{code:02x}")]
    NotAnInt {
        /// The code.
        code: u8,
    },
    /// A field name, or the address of a remote object, must be a string.
    #[error("expected a string, found code 0x{code:02x}")]
    NotAString {
        /// The code.
        code: u8,
    },
    /// A length below zero.
    #[error("length {length} is negative")]
    NegativeLength {
        /// The length as it stands there.
        length: i32,
    },
    /// The bytes end too early: a capture that was cut, or a length that is wrong.
    #[error("the bytes end inside {inside}")]
    Truncated {
        /// What was begun.
        inside: &'static str,
    },
    /// An instance of a class that was not defined before.
    #[error("instance of class {index}, of which there is no definition")]
    UnknownClass {
        /// The index.
        index: i32,
    },
    /// A type name by number, and no name with that number came before.
    #[error("type {index} was not named before")]
    UnknownType {
        /// The index.
        index: i32,
    },
    /// A reference to an object that did not come before. The node is kept.
    #[error("reference to object {index}, which did not come before")]
    DanglingReference {
        /// The index.
        index: u32,
    },
    /// A byte that begins no character.
    #[error("byte 0x{byte:02x} begins no character")]
    BadText {
        /// The byte.
        byte: u8,
    },
    /// A character in four bytes, which the real decoder refuses: Java writes surrogates in
    /// three bytes each. Read as two UTF-16 units.
    #[error("a four-byte character, where Java writes two surrogates of three bytes")]
    FourByteCharacter,
    /// A list holds another number of items than it says. The items are kept.
    #[error("list says {declared} items and holds {found}")]
    LengthMismatch {
        /// What it says.
        declared: i64,
        /// What it holds.
        found: u64,
    },
    /// A map ends after a key.
    #[error("map ends after a key without a value")]
    KeyWithoutValue,
    /// A limit was reached; everything from here on is opaque.
    #[error("more than {limit} {of}")]
    Limit {
        /// What there is too much of.
        of: &'static str,
        /// How much is accepted.
        limit: usize,
    },
}
