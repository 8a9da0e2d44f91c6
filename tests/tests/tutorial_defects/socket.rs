//! The source that cannot go back: lines from a socket.
//!
//! *Why it looks right.* State, checkpoints and the transactional sink are all there, and without failures each line is
//! counted once.
//!
//! *When it goes wrong.* A line is read off the socket once. What came after the last checkpoint is gone with the crash: the
//! source cannot ask for it again.
//!
//! *The rule.* Exactly-once needs a source that can be read again from a position that is in the checkpoint: a log, a file,
//! a queue that keeps what was not acknowledged.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use tidegate::{
    Result, Timestamp,
    connector::{ReadStatus, Source, SourceContext, SplitReader},
    env::Env,
    record::{Batch, StreamRecord},
};

/// What the other side of the socket sends, one line every so often. It outlives the processes of the job.
#[derive(Clone)]
pub struct Socket {
    lines: Arc<Mutex<VecDeque<u64>>>,
    interval_ms: i64,
}

impl Socket {
    /// A socket over which these lines come.
    pub fn new(lines: impl IntoIterator<Item = u64>, interval_ms: i64) -> Self {
        Self { lines: Arc::new(Mutex::new(lines.into_iter().collect())), interval_ms }
    }
}

#[async_trait]
impl Source for Socket {
    type Item = u64;
    /// When the next line comes: there is no position that would mean anything to the other side.
    type Split = i64;

    async fn enumerate(&self, context: &SourceContext) -> Result<Vec<i64>> {
        Ok(vec![context.env.now().0])
    }

    fn reader(&self, context: &SourceContext) -> Box<dyn SplitReader<u64, i64>> {
        Box::new(SocketReader { socket: self.clone(), env: context.env.clone() })
    }
}

struct SocketReader {
    socket: Socket,
    env: Env,
}

#[async_trait]
impl SplitReader<u64, i64> for SocketReader {
    async fn read(&mut self, next_ms: &mut i64, _limit: usize, out: &mut Batch<u64>) -> Result<ReadStatus> {
        if self.env.now().0 < *next_ms {
            return Ok(ReadStatus::NotBefore(Timestamp(*next_ms)));
        }
        // Here is the mistake: what is taken off the socket here cannot be had again.
        let Some(line) = self.socket.lines.lock().unwrap().pop_front() else { return Ok(ReadStatus::Ended) };
        out.push(StreamRecord::new(line, Timestamp::MIN));
        *next_ms += self.socket.interval_ms;
        Ok(ReadStatus::NotBefore(Timestamp(*next_ms)))
    }
}
