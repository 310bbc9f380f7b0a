//! Instructions of the kernel's machine as values, and their bytes.
//!
//! A program is a list of [`Step`]s; a jump names a [`Label`], which stands somewhere in the
//! list. Nothing here knows what the program is for.

use meshproof_sys::bpf::Instruction;

/// A register. `R0` is what a call or the program returns, `R1` to `R5` are the arguments of a call
/// and lost by it, `R6` to `R9` stay, `R10` is the end of the stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Register {
    R0,
    R1,
    R2,
    R3,
    R4,
    R5,
    R6,
    R7,
    R8,
    R9,
    R10,
}

/// What an operation takes beside its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operand {
    /// What is in a register.
    Of(Register),
    /// A number, with its sign.
    Number(i32),
}

/// What is done with the 64 bits of a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    /// Plus.
    Add,
    /// Times.
    Times,
    /// The bits of both.
    And,
    /// So many bits up.
    Up,
    /// So many bits down; zeros come in.
    Down,
    /// Exclusive or.
    Xor,
    /// The same.
    Set,
}

/// How many bytes are read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Width {
    /// 1.
    Byte,
    /// 2.
    Half,
    /// 4.
    Word,
    /// 8.
    Double,
}

/// When a jump is taken; without signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// They are the same.
    Same,
    /// They are not.
    Other,
    /// The first is greater.
    Greater,
    /// The first is less.
    Less,
    /// They have a bit in common.
    Common,
}

/// A place in a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Label(pub(super) u16);

/// What the kernel does for a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Helper {
    /// The value at a key of a map, or 0.
    MapLookup,
    /// To the socket of a map instead.
    MessageRedirect,
    /// The verdict is for so many bytes.
    MessageApply,
    /// These bytes are to be readable.
    MessagePull,
    /// These bytes are to be gone.
    MessageCut,
}

/// One step of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Does something with a register.
    Do(Operation, Register, Operand),
    /// The lower bytes of a register from the order of the network to that of the machine.
    FromNetwork(Width, Register),
    /// Reads, from so many bytes behind an address.
    Load(Width, Register, Register, i16),
    /// Writes a register, so many bytes behind an address.
    Store(Width, Register, i16, Register),
    /// Adds a register to 8 bytes in memory, at once, so many bytes behind an address; the register
    /// has then what was there before.
    FetchAdd(Register, i16, Register),
    /// A number of 64 bits.
    Long(Register, u64),
    /// A map, by its descriptor.
    Map(Register, i32),
    /// The address of the first value of a map, by its descriptor.
    Value(Register, i32),
    /// Goes on at a place.
    Go(Label),
    /// Goes on at a place if.
    If(When, Register, Operand, Label),
    /// Has the kernel do something.
    Call(Helper),
    /// The place that is called so.
    Place(Label),
    /// Ends; `R0` is what is returned.
    Exit,
}

/// Why a list of steps is no program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Wrong {
    /// A jump to it is there, the place is not.
    #[error("no place is called {}", .0.0)]
    NoPlace(Label),
    /// Jumps reach 32,767 instructions.
    #[error("the way to place {} is too long", .0.0)]
    TooFar(Label),
}

/// The bytes of a program.
pub(super) fn assemble(steps: &[Step]) -> Result<Vec<Instruction>, Wrong> {
    let mut places = Vec::new();
    let mut at = 0_i64;
    for step in steps {
        if let Step::Place(label) = step {
            places.push((*label, at));
        }
        at += step.slots();
    }
    let mut code = Vec::new();
    for step in steps {
        let next = code.len() as i64 + 1;
        let way = |label: Label| {
            let place = places.iter().find(|(name, _)| *name == label);
            let (_, place) = place.ok_or(Wrong::NoPlace(label))?;
            i16::try_from(place - next).map_err(|_| Wrong::TooFar(label))
        };
        step.write(&mut code, way)?;
    }
    Ok(code)
}

// Classes of instructions, and what is in the other bits of their first byte.
const LOAD_LONG: u8 = 0x18;
const LOAD: u8 = 0x61;
const STORE: u8 = 0x63;
const ATOMIC: u8 = 0xc3;
const JUMP: u8 = 0x05;
const DO: u8 = 0x07;
const FROM_NETWORK: u8 = 0xdc;
const OF_REGISTER: u8 = 0x08;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;
/// Of an atomic: fetch, and add.
const FETCH: i32 = 1;
/// The number of a long load is a map's descriptor, or stands for its first value.
const IS_MAP: u8 = 1;
const IS_VALUE: u8 = 2;

impl Width {
    fn bits(self) -> u8 {
        match self {
            Width::Word => 0x00,
            Width::Half => 0x08,
            Width::Byte => 0x10,
            Width::Double => 0x18,
        }
    }

    fn bytes(self) -> i32 {
        match self {
            Width::Byte => 1,
            Width::Half => 2,
            Width::Word => 4,
            Width::Double => 8,
        }
    }
}

impl Operation {
    fn bits(self) -> u8 {
        match self {
            Operation::Add => 0x00,
            Operation::Times => 0x20,
            Operation::And => 0x50,
            Operation::Up => 0x60,
            Operation::Down => 0x70,
            Operation::Xor => 0xa0,
            Operation::Set => 0xb0,
        }
    }
}

impl When {
    fn bits(self) -> u8 {
        match self {
            When::Same => 0x10,
            When::Greater => 0x20,
            When::Common => 0x40,
            When::Other => 0x50,
            When::Less => 0xa0,
        }
    }
}

impl Helper {
    fn number(self) -> i32 {
        match self {
            Helper::MapLookup => 1,
            Helper::MessageRedirect => 60,
            Helper::MessageApply => 61,
            Helper::MessagePull => 63,
            Helper::MessageCut => 91,
        }
    }
}

fn instruction(code: u8, to: u8, from: u8, offset: i16, number: i32) -> Instruction {
    let registers = match cfg!(target_endian = "little") {
        true => from << 4 | to,
        false => to << 4 | from,
    };
    let [o0, o1] = offset.to_ne_bytes();
    let [n0, n1, n2, n3] = number.to_ne_bytes();
    [code, registers, o0, o1, n0, n1, n2, n3]
}

fn long(code: &mut Vec<Instruction>, to: Register, from: u8, low: i32, high: i32) {
    code.push(instruction(LOAD_LONG, to as u8, from, 0, low));
    code.push(instruction(0, 0, 0, 0, high));
}

impl Step {
    /// How many instructions it is.
    fn slots(&self) -> i64 {
        match self {
            Step::Long(..) | Step::Map(..) | Step::Value(..) => 2,
            Step::Place(_) => 0,
            _ => 1,
        }
    }

    fn write(
        &self,
        code: &mut Vec<Instruction>,
        way: impl Fn(Label) -> Result<i16, Wrong>,
    ) -> Result<(), Wrong> {
        let with = |class: u8, to: Register, operand: Operand, offset: i16| match operand {
            Operand::Of(from) => instruction(class | OF_REGISTER, to as u8, from as u8, offset, 0),
            Operand::Number(number) => instruction(class, to as u8, 0, offset, number),
        };
        match *self {
            Step::Do(operation, to, operand) => {
                code.push(with(DO | operation.bits(), to, operand, 0));
            }
            Step::FromNetwork(width, to) => {
                let bits = width.bytes() * 8;
                code.push(instruction(FROM_NETWORK, to as u8, 0, 0, bits));
            }
            Step::Load(width, to, from, offset) => {
                let class = LOAD | width.bits();
                code.push(instruction(class, to as u8, from as u8, offset, 0));
            }
            Step::Store(width, to, offset, from) => {
                let class = STORE | width.bits();
                code.push(instruction(class, to as u8, from as u8, offset, 0));
            }
            Step::FetchAdd(to, offset, from) => {
                let class = ATOMIC | Width::Double.bits();
                code.push(instruction(class, to as u8, from as u8, offset, FETCH));
            }
            Step::Long(to, number) => {
                // Both halves as they are, whatever their signs come to.
                let (low, high) = (number as u32 as i32, (number >> 32) as u32 as i32);
                long(code, to, 0, low, high);
            }
            Step::Map(to, fd) => long(code, to, IS_MAP, fd, 0),
            Step::Value(to, fd) => long(code, to, IS_VALUE, fd, 0),
            Step::Go(label) => code.push(instruction(JUMP, 0, 0, way(label)?, 0)),
            Step::If(when, first, second, label) => {
                code.push(with(JUMP | when.bits(), first, second, way(label)?));
            }
            Step::Call(helper) => code.push(instruction(CALL, 0, 0, 0, helper.number())),
            Step::Place(_) => {}
            Step::Exit => code.push(instruction(EXIT, 0, 0, 0, 0)),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Register::*;

    #[track_caller]
    fn check(steps: &[Step], expected: &[u64]) {
        let found: Vec<u64> = assemble(steps)
            .unwrap()
            .into_iter()
            .map(u64::from_le_bytes)
            .collect();
        assert_eq!(found, expected, "{found:#018x?}");
    }

    #[test]
    fn steps_become_the_bytes_that_the_kernel_reads() {
        if cfg!(target_endian = "big") {
            return;
        }
        check(&[Step::Do(Operation::Set, R6, Operand::Of(R1))], &[0x16bf]);
        check(
            &[Step::Do(Operation::Add, R1, Operand::Number(-8))],
            &[0xffff_fff8_0000_0107],
        );
        check(&[Step::Load(Width::Half, R2, R7, 14)], &[0x000e_7269]);
        check(&[Step::Store(Width::Double, R10, -8, R1)], &[0xfff8_1a7b]);
        check(&[Step::FromNetwork(Width::Half, R2)], &[0x0010_0000_02dc]);
        check(&[Step::FetchAdd(R7, 8, R1)], &[0x0000_0001_0008_17db]);
        check(&[Step::Map(R1, 5)], &[0x0000_0005_0000_1118, 0]);
        check(
            &[Step::Call(Helper::MessagePull), Step::Exit],
            &[0x0000_003f_0000_0085, 0x95],
        );
    }

    #[test]
    fn jumps_find_their_places() {
        let end = Label(3);
        check(
            &[
                Step::If(When::Other, R0, Operand::Number(7), end),
                Step::Long(R1, 0x1122_3344_5566_7788),
                Step::Go(end),
                Step::Place(end),
                Step::Exit,
            ],
            &[
                0x0000_0007_0003_0055,
                0x5566_7788_0000_0118,
                0x1122_3344_0000_0000,
                0x05,
                0x95,
            ],
        );
        assert_eq!(assemble(&[Step::Go(end)]), Err(Wrong::NoPlace(end)));
        let mut long = vec![Step::Go(end)];
        long.extend(std::iter::repeat_n(Step::Exit, 40_000));
        long.push(Step::Place(end));
        assert_eq!(assemble(&long), Err(Wrong::TooFar(end)));
    }
}
