//! `popstore append`: a message from the command line, one per line of the input, or the whole input as one.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;

use popstore::{Appended, Error, Message, Store};
use serde::Serialize;

use super::On;
use crate::directory::BODY_BYTES_MAX;
use crate::{Failure, Outcome, directory, output, signals};

/// A batch is appended when it holds this much, even if it could hold more lines.
const BATCH_BYTES: usize = 4 << 20;
/// How much of the input is read at once, and how many times that ahead of the appends.
const CHUNK_BYTES: usize = 64 << 10;
const CHUNKS_AHEAD: usize = 4;

/// Append messages to a topic; makes the store and the topic where they are missing
///
/// Without BODY, each line of the input is a message, without its line end: LF, or CR and LF. A body is at most 4 MiB.
/// A longer line, or a longer input with --whole, is not appended and ends the command with exit code 2; the lines
/// before it are appended. SIGINT (Ctrl-C), SIGTERM and SIGHUP end it in the same way: the lines that were read are
/// appended.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    on: On,
    /// The topic
    topic: String,
    /// The body of a single message; without it, the input is read
    #[arg(conflicts_with_all = ["whole", "file", "batch"])]
    body: Option<String>,
    /// The whole input is one message
    #[arg(long, conflicts_with = "batch")]
    whole: bool,
    /// Read this file instead of the standard input
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// The key of each message: messages of one key go to one queue, in order
    #[arg(long)]
    key: Option<String>,
    /// The tag of each message
    #[arg(long)]
    tag: Option<String>,
    /// How many lines are appended as one, all or none
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    batch: u32,
}

#[derive(Serialize)]
struct Row<'a> {
    topic: &'a str,
    queue: u32,
    index: u64,
    offset: u64,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Outcome, Failure> {
    // A misspelt file, or arguments that are refused, must not make a store.
    let input = open_input(args)?;
    let store = directory::open_or_make(&args.on.dir, |options| {
        let body = args.body.as_deref().unwrap_or_default();
        options.check_append(&args.topic, &message(args, body.as_bytes()))
    })?;
    let mut into = Into { args, store: &store, out, appended: 0 };
    let done = append_input(input, &mut into);
    let appended = into.appended;
    if appended == 0 && done.is_ok() {
        store.create_topic(&args.topic, 1)?;
    }
    directory::close(store);
    done.map_err(|failure| {
        let whether_more = match failure {
            Failure::Store(Error::Poisoned { .. }) => "; whether the batch behind them is, is unknown",
            _ => "",
        };
        failure
            .after(appended, || format!("{}, which are appended{whether_more}", output::counted(appended, "message")))
    })?;
    if !args.on.json {
        output::line(out, format_args!("appended {} to {}", output::counted(appended, "message"), args.topic))?;
    }
    Ok(Outcome::Fine)
}

/// The message with this body.
fn message<'a>(args: &'a Args, body: &'a [u8]) -> Message<'a> {
    let message = Message::new(body).tag(args.tag.as_deref().unwrap_or_default());
    message.key(args.key.as_deref().unwrap_or_default())
}

/// The input, opened; none for a body on the command line.
fn open_input(args: &Args) -> Result<Option<Box<dyn Read + Send>>, Failure> {
    Ok(match (&args.body, &args.file) {
        (Some(_), _) => None,
        (None, Some(file)) => Some(Box::new(File::open(file).map_err(|source| Failure::input(file, source))?)),
        (None, None) => Some(Box::new(io::stdin())),
    })
}

/// Appends all of the input, or the part that was read when a signal asks to stop.
fn append_input(input: Option<Box<dyn Read + Send>>, into: &mut Into<'_>) -> Result<(), Failure> {
    let Some(input) = input else {
        return into.append(&[into.args.body.clone().unwrap_or_default().into_bytes()]);
    };
    let (sender, chunks) = mpsc::sync_channel(CHUNKS_AHEAD);
    let stop = sender.clone();
    // A read may never return, so it has a thread of its own, which ends with the process.
    thread::Builder::new().spawn(move || read(input, &sender)).map_err(Failure::Thread)?;
    let asked = || drop(stop.send(Input::Stop));
    // Order matters: the receiver ends with the work, so that a second signal does not wait for it.
    signals::during(asked, move || append_chunks(&chunks, into)).map_err(Failure::Signals)?
}

/// An item of the input.
enum Input {
    Chunk(Vec<u8>),
    End,
    Failed(io::Error),
    /// A signal asked for it.
    Stop,
}

fn read(mut input: Box<dyn Read + Send>, chunks: &mpsc::SyncSender<Input>) {
    loop {
        let mut chunk = vec![0; CHUNK_BYTES];
        let more = match input.read(&mut chunk) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => Input::Failed(error),
            Ok(0) => Input::End,
            Ok(len) => {
                chunk.truncate(len);
                Input::Chunk(chunk)
            }
        };
        let continues = matches!(more, Input::Chunk(_));
        if chunks.send(more).is_err() || !continues {
            return;
        }
    }
}

fn append_chunks(chunks: &mpsc::Receiver<Input>, into: &mut Into<'_>) -> Result<(), Failure> {
    let args = into.args;
    let path = args.file.as_deref().unwrap_or(Path::new("-"));
    let mut lines = Lines { whole: args.whole, path, begun: Vec::new(), count: 0, ended: Vec::new(), bytes: 0 };
    loop {
        // A reader that ended without an item panicked.
        let chunk = match chunks.recv().unwrap_or(Input::Stop) {
            Input::Chunk(chunk) => chunk,
            Input::End => {
                lines.end();
                return into.append(&lines.take());
            }
            Input::Failed(source) => {
                into.append(&lines.take())?;
                return Err(Failure::input(path, source));
            }
            Input::Stop => {
                into.append(&lines.take())?;
                return Err(Failure::Stopped);
            }
        };
        // What ended before a line that is too long is appended: then the failure names the first line that is not.
        let taken = chunk.split_inclusive(|byte| *byte == b'\n').try_for_each(|piece| {
            lines.add(piece)?;
            if lines.ended.len() >= args.batch as usize || lines.bytes >= BATCH_BYTES {
                into.append(&lines.take())?;
            }
            Ok(())
        });
        if let Err(failure) = taken {
            into.append(&lines.take())?;
            return Err(failure);
        }
    }
}

/// The input, cut into messages.
struct Lines<'a> {
    whole: bool,
    path: &'a Path,
    /// A message whose end has not come yet; its length is bounded, whatever the input is.
    begun: Vec<u8>,
    /// How many messages have begun and ended.
    count: u64,
    ended: Vec<Vec<u8>>,
    bytes: usize,
}

impl Lines<'_> {
    /// Adds a piece of the input with at most one line end, which comes last.
    fn add(&mut self, piece: &[u8]) -> Result<(), Failure> {
        let line = if self.whole { None } else { piece.strip_suffix(b"\n") };
        self.begun.extend_from_slice(line.unwrap_or(piece));
        // Where the LF of a CRLF has not come yet, the CR may be one byte more.
        if self.body_len() as u64 > BODY_BYTES_MAX {
            let path = self.path;
            let what = if self.whole { format!("{path:?}") } else { format!("line {} of {path:?}", self.count + 1) };
            return Err(Failure::TooLong { what, bytes_max: BODY_BYTES_MAX });
        }
        if line.is_some() {
            self.end_one();
        }
        Ok(())
    }

    /// How long the body of the message is that has begun: a CR at the end of a line is no part of it.
    fn body_len(&self) -> usize {
        match self.begun.strip_suffix(b"\r") {
            Some(line) if !self.whole => line.len(),
            _ => self.begun.len(),
        }
    }

    /// The input ends; its last line may have no line end, or only the CR of it.
    fn end(&mut self) {
        if self.whole || !self.begun.is_empty() {
            self.end_one();
        }
    }

    fn end_one(&mut self) {
        self.begun.truncate(self.body_len());
        self.bytes += self.begun.len();
        self.count += 1;
        self.ended.push(std::mem::take(&mut self.begun));
    }

    fn take(&mut self) -> Vec<Vec<u8>> {
        self.bytes = 0;
        std::mem::take(&mut self.ended)
    }
}

/// The topic that messages are appended to, and how many were.
struct Into<'a> {
    args: &'a Args,
    store: &'a Store,
    out: &'a mut dyn Write,
    appended: u64,
}

impl Into<'_> {
    fn append(&mut self, bodies: &[Vec<u8>]) -> Result<(), Failure> {
        if bodies.is_empty() {
            return Ok(());
        }
        let Args { topic, on, .. } = self.args;
        let messages: Vec<_> = bodies.iter().map(|body| message(self.args, body)).collect();
        let places = self.store.append_batch(topic, &messages)?;
        self.appended += places.len() as u64;
        if on.json {
            for Appended { offset, queue, index, .. } in places {
                output::json(self.out, &Row { topic, queue, index, offset })?;
            }
        }
        Ok(())
    }
}
