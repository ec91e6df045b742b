//! Bytes: numbers in network order, with lengths that are known only afterwards.

/// A message that ended early, or said something impossible of its own lengths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an OpenFlow message ends before it should")]
pub struct Short;

/// Writes a message.
#[derive(Debug, Default)]
pub struct Writer(pub Vec<u8>);

impl Writer {
    pub fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    pub fn u16(&mut self, value: u16) {
        self.0.extend(value.to_be_bytes());
    }

    pub fn u32(&mut self, value: u32) {
        self.0.extend(value.to_be_bytes());
    }

    pub fn u64(&mut self, value: u64) {
        self.0.extend(value.to_be_bytes());
    }

    pub fn zeros(&mut self, count: usize) {
        self.0.resize(self.0.len() + count, 0);
    }

    /// The lowest bytes of a number.
    pub fn number(&mut self, value: u128, bytes: usize) {
        self.0.extend(&value.to_be_bytes()[16 - bytes.min(16)..]);
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Zeros until the length since `from` is a multiple of 8.
    pub fn pad8(&mut self, from: usize) {
        self.zeros((self.len() - from).next_multiple_of(8) - (self.len() - from));
    }

    /// Write a length that has become known over its place.
    pub fn set_u16(&mut self, at: usize, value: usize) {
        // Every length here is that of a part of one message, which has 16 bits for its own.
        let bytes = (value as u16).to_be_bytes();
        self.0[at..at + 2].copy_from_slice(&bytes);
    }
}

/// Reads a message from the left.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    pub fn take(&mut self, count: usize) -> Result<Reader<'a>, Short> {
        let (head, tail) = self.0.split_at_checked(count).ok_or(Short)?;
        self.0 = tail;
        Ok(Reader(head))
    }

    pub fn u8(&mut self) -> Result<u8, Short> {
        self.number(1).map(|n| n as u8)
    }

    pub fn u16(&mut self) -> Result<u16, Short> {
        self.number(2).map(|n| n as u16)
    }

    pub fn u32(&mut self) -> Result<u32, Short> {
        self.number(4).map(|n| n as u32)
    }

    pub fn u64(&mut self) -> Result<u64, Short> {
        self.number(8).map(|n| n as u64)
    }

    pub fn number(&mut self, bytes: usize) -> Result<u128, Short> {
        let bytes = self.take(bytes)?;
        Ok(bytes
            .0
            .iter()
            .fold(0, |n, byte| (n << 8) | u128::from(*byte)))
    }

    pub fn skip(&mut self, count: usize) -> Result<(), Short> {
        self.take(count).map(|_| ())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
