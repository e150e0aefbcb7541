//! `popstore append`: a message from the command line, one per line of the input, or the whole input as one.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use popstore::{Appended, Error, Message, Store};
use serde::Serialize;

use super::On;
use crate::{Failure, Outcome, directory, output};

/// A batch is appended when it holds this much, even if it could hold more lines.
const BATCH_BYTES: usize = 4 << 20;

/// Append messages to a topic; makes the store and the topic where they are missing
///
/// Without BODY, each line of the input is a message.
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
    // A misspelt file must not make a store.
    let input = open_input(args)?;
    let store = directory::open_or_make(&args.on.dir)?;
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

fn open_input(args: &Args) -> Result<Box<dyn BufRead + '_>, Failure> {
    Ok(match (&args.body, &args.file) {
        (Some(body), _) => Box::new(body.as_bytes()),
        (None, Some(file)) => {
            let opened = File::open(file).map_err(|source| Failure::input(file, source))?;
            Box::new(BufReader::new(opened))
        }
        (None, None) => Box::new(io::stdin().lock()),
    })
}

fn append_input(mut input: Box<dyn BufRead + '_>, into: &mut Into<'_>) -> Result<(), Failure> {
    let args = into.args;
    let failed = |source| Failure::input(args.file.as_deref().unwrap_or(Path::new("-")), source);
    if args.whole || args.body.is_some() {
        let mut body = Vec::new();
        input.read_to_end(&mut body).map_err(failed)?;
        return into.append(&[body]);
    }
    let (mut batch, mut bytes) = (Vec::new(), 0);
    loop {
        let mut line = Vec::new();
        let at_end = input.read_until(b'\n', &mut line).map_err(failed)? == 0;
        line.pop_if(|last| *last == b'\n');
        if !at_end {
            bytes += line.len();
            batch.push(line);
        }
        if !batch.is_empty() && (at_end || batch.len() == args.batch as usize || bytes >= BATCH_BYTES) {
            into.append(&batch)?;
            batch.clear();
            bytes = 0;
        }
        if at_end {
            return Ok(());
        }
    }
}

/// Where messages go, and how many went there.
struct Into<'a> {
    args: &'a Args,
    store: &'a Store,
    out: &'a mut dyn Write,
    appended: u64,
}

impl Into<'_> {
    fn append(&mut self, bodies: &[Vec<u8>]) -> Result<(), Failure> {
        let Args { topic, key, tag, on, .. } = self.args;
        let message = |body| {
            let message = Message::new(body).tag(tag.as_deref().unwrap_or_default());
            message.key(key.as_deref().unwrap_or_default())
        };
        let messages: Vec<_> = bodies.iter().map(message).collect();
        let places = self.store.append_batch(topic, &messages)?;
        self.appended += places.len() as u64;
        if on.json {
            for Appended { offset, queue, index } in places {
                output::json(self.out, &Row { topic, queue, index, offset })?;
            }
        }
        Ok(())
    }
}
