//! Converted rows of one load, kept until its commit: in memory up to a bound, then in a file.
//!
//! A row is `length:u32, op:u8, cells`, a cell is a tag and its bytes. Rows are read back in arrival order, so
//! applying them one by one makes the last one of a key win. A staged load of a prepared transaction is a file
//! that outlives the process.

use std::borrow::Cow;
use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};

use crate::embedded::value::Cell;
use crate::{Error, Result};

/// What a row does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Op {
    Upsert,
    /// Holds the key cells only.
    Delete,
}

/// Memory one load may take before its rows go to the file.
const IN_MEMORY: usize = 8 * 1024 * 1024;

#[derive(Debug)]
pub(crate) struct Stage {
    buffer: Vec<u8>,
    path: PathBuf,
    file: Option<File>,
    in_memory: usize,
    /// Left on disk when this is dropped.
    keep: bool,
}

impl Stage {
    /// Stages into memory; `path` is where rows go when there are too many.
    pub(crate) fn new(path: PathBuf) -> Stage {
        Stage { buffer: Vec::new(), path, file: None, in_memory: IN_MEMORY, keep: false }
    }

    /// Opens the file of a prepared transaction; it stays until [`Stage::discard`].
    ///
    /// # Errors
    /// When the file is gone.
    pub(crate) fn reopen(path: &Path) -> Result<Stage> {
        let file = File::options().read(true).append(true).open(path).map_err(|error| failed(path, error))?;
        Ok(Stage { buffer: Vec::new(), path: path.to_owned(), file: Some(file), in_memory: 0, keep: true })
    }

    pub(crate) fn push<'a, 'c: 'a>(&mut self, op: Op, cells: impl Iterator<Item = &'a Cell<'c>>) -> Result<()> {
        let start = self.buffer.len();
        self.buffer.extend_from_slice(&[0; 4]);
        self.buffer.push(u8::from(op == Op::Delete));
        for cell in cells {
            match cell {
                Cell::Null => self.buffer.push(0),
                Cell::Int(value) => self.fixed(1, value.to_le_bytes()),
                Cell::Real(value) => self.fixed(2, value.to_bits().to_le_bytes()),
                Cell::Text(bytes) => self.bytes(3, bytes),
                Cell::Blob(bytes) => self.bytes(4, bytes),
            }
        }
        let length = (self.buffer.len() - start - 4) as u32;
        self.buffer[start..start + 4].copy_from_slice(&length.to_le_bytes());
        if self.buffer.len() > self.in_memory { self.spill() } else { Ok(()) }
    }

    fn fixed(&mut self, tag: u8, bytes: [u8; 8]) {
        self.buffer.push(tag);
        self.buffer.extend_from_slice(&bytes);
    }

    fn bytes(&mut self, tag: u8, bytes: &[u8]) {
        self.buffer.push(tag);
        self.buffer.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        self.buffer.extend_from_slice(bytes);
    }

    fn spill(&mut self) -> Result<()> {
        if self.file.is_none() {
            if let Some(folder) = self.path.parent() {
                std::fs::create_dir_all(folder).map_err(|error| failed(folder, error))?;
            }
            let options = File::options().read(true).append(true).create(true).truncate(false).open(&self.path);
            self.file = Some(options.map_err(|error| failed(&self.path, error))?);
        }
        if let Some(file) = &mut self.file {
            file.write_all(&self.buffer).map_err(|error| failed(&self.path, error))?;
        }
        self.buffer.clear();
        Ok(())
    }

    /// Puts every row on disk, to stay after the process: a prepared transaction survives a kill.
    pub(crate) fn persist(&mut self) -> Result<()> {
        self.spill()?;
        if let Some(file) = &self.file {
            file.sync_all().map_err(|error| failed(&self.path, error))?;
        }
        self.keep = true;
        Ok(())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the file of a prepared transaction that has ended.
    pub(crate) fn discard(&mut self) {
        self.keep = false;
    }

    /// Hands every row to `row`, in arrival order.
    ///
    /// # Errors
    /// The disk, a damaged file, or what `row` says.
    pub(crate) fn for_each(&self, mut row: impl FnMut(Op, &[Cell<'_>]) -> Result<()>) -> Result<()> {
        let mut cells = Vec::new();
        if self.file.is_some() {
            // A second handle: the first one's position belongs to the writer.
            let file = File::open(&self.path).map_err(|error| failed(&self.path, error))?;
            let mut reader = BufReader::with_capacity(256 * 1024, file);
            let mut bytes = Vec::new();
            let mut length = [0; 4];
            loop {
                match reader.read_exact(&mut length) {
                    Ok(()) => {}
                    Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => break,
                    Err(error) => return Err(failed(&self.path, error)),
                }
                bytes.resize(u32::from_le_bytes(length) as usize, 0);
                reader.read_exact(&mut bytes).map_err(|error| failed(&self.path, error))?;
                let mut decoded = Vec::new();
                let op = decode(&bytes, &mut decoded).ok_or_else(|| self.damaged())?;
                row(op, &decoded)?;
            }
        }
        let mut rest = &self.buffer[..];
        while let Some((length, after)) = rest.split_first_chunk::<4>() {
            let length = u32::from_le_bytes(*length) as usize;
            let op = after.get(..length).and_then(|bytes| decode(bytes, &mut cells)).ok_or_else(|| self.damaged())?;
            row(op, &cells)?;
            rest = &after[length..];
        }
        Ok(())
    }

    fn damaged(&self) -> Error {
        Error::definite(format!("the staged rows in {} are damaged", self.path.display()))
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if self.file.is_some() && !self.keep {
            // The folder is emptied at the next start, should this fail.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn decode<'a>(mut bytes: &'a [u8], cells: &mut Vec<Cell<'a>>) -> Option<Op> {
    cells.clear();
    let op = if take::<1>(&mut bytes)? == [1] { Op::Delete } else { Op::Upsert };
    while let Some([tag]) = take::<1>(&mut bytes) {
        cells.push(match tag {
            0 => Cell::Null,
            1 => Cell::Int(i64::from_le_bytes(take(&mut bytes)?)),
            2 => Cell::Real(f64::from_bits(u64::from_le_bytes(take(&mut bytes)?))),
            _ => {
                let length = u32::from_le_bytes(take(&mut bytes)?) as usize;
                let (value, rest) = bytes.split_at_checked(length)?;
                bytes = rest;
                if tag == 3 { Cell::Text(Cow::Borrowed(value)) } else { Cell::Blob(Cow::Borrowed(value)) }
            }
        });
    }
    Some(op)
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*head)
}

fn failed(path: &Path, error: std::io::Error) -> Error {
    Error::transient(format!("cannot stage rows in {}", path.display()))
        .hint("the load's rows go to the data folder: see that it is writable and has room")
        .caused_by(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_in_order_from_memory_and_from_disk() {
        let folder = tempfile::tempdir().unwrap();
        for in_memory in [0, 60, IN_MEMORY] {
            let mut stage = Stage::new(folder.path().join("x.rows"));
            stage.in_memory = in_memory;
            for id in 0..10 {
                let cells = [Cell::Int(id), Cell::Null, Cell::Text(Cow::Borrowed(b"t")), Cell::Real(0.5)];
                stage.push(Op::Upsert, cells.iter()).unwrap();
            }
            stage.push(Op::Delete, [Cell::Blob(Cow::Borrowed(b"k"))].iter()).unwrap();
            let mut seen = Vec::new();
            stage
                .for_each(|op, cells| {
                    seen.push((op, cells.iter().cloned().map(Cell::into_owned).collect::<Vec<_>>()));
                    Ok(())
                })
                .unwrap();
            assert_eq!(seen.len(), 11);
            assert_eq!(seen[3].1[0], Cell::Int(3));
            assert_eq!(seen[10], (Op::Delete, vec![Cell::Blob(Cow::Borrowed(b"k"))]));
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn persisted_rows_are_there_after_a_reopen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.rows");
        let mut stage = Stage::new(path.clone());
        stage.push(Op::Upsert, [Cell::Int(1)].iter()).unwrap();
        stage.persist().unwrap();
        drop(stage);
        let mut again = Stage::reopen(&path).unwrap();
        let mut count = 0;
        again
            .for_each(|_, _| {
                count += 1;
                Ok(())
            })
            .unwrap();
        assert_eq!(count, 1);
        again.discard();
        drop(again);
        assert!(!path.exists());
    }
}
