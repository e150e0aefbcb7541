//! The pages about a tool: completions for shells and a manual page, made from its own clap definitions.

use std::io::{self, Write};

use clap_complete::Shell;
use clap_mangen::Man;

use crate::{Failure, Outcome, streams};

/// The verbs that print a page; a tool flattens them into its own.
#[derive(Debug, clap::Subcommand)]
pub enum Page {
    /// Print the completions of this command for a shell
    ///
    /// They belong into a file of the command's name in the shell's directory for them: for bash, for example, in
    /// /etc/bash_completion.d
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page of this command, all verbs included
    ///
    /// To read it, pipe it into `man -l -`
    Man,
}

/// Prints a page about a command.
///
/// # Errors
/// When the output cannot be written.
pub fn print(page: &Page, command: clap::Command, out: &mut dyn Write) -> Result<Outcome, Failure> {
    // Made in memory: a generator of completions panics when its output is a closed pipe.
    let mut text = Vec::new();
    match page {
        Page::Completions { shell } => completions(*shell, command, &mut text),
        Page::Man => man(command, &mut text)?,
    }
    match out.write_all(&text).and_then(|()| out.flush()) {
        // A page is no result; a reader that closes it has read enough.
        Err(error) if !streams::is_closed(&error) => Err(error.into()),
        _ => Ok(Outcome::Fine),
    }
}

fn completions(shell: Shell, mut command: clap::Command, out: &mut Vec<u8>) {
    let name = command.get_name().to_string();
    clap_complete::generate(shell, &mut command, name, out);
}

/// Writes one page: the command, then a section for each verb.
fn man(command: clap::Command, out: &mut Vec<u8>) -> io::Result<()> {
    let mut command = command.disable_help_subcommand(true).disable_help_flag(true);
    command.build();
    let page = Man::new(command.clone());
    page.render_title(out)?;
    page.render_name_section(out)?;
    page.render_synopsis_section(out)?;
    page.render_description_section(out)?;
    command.get_subcommands().try_for_each(|verb| man_of_verb(verb, out))?;
    page.render_version_section(out)
}

/// Writes the section of a verb, or those of its verbs.
fn man_of_verb(verb: &clap::Command, out: &mut Vec<u8>) -> io::Result<()> {
    if verb.has_subcommands() {
        return verb.get_subcommands().try_for_each(|verb| man_of_verb(verb, out));
    }
    let page = Man::new(verb.clone());
    let mut parts = Vec::new();
    page.render_synopsis_section(&mut parts)?;
    page.render_description_section(&mut parts)?;
    page.render_options_section(&mut parts)?;
    if verb.get_after_help().is_some() {
        page.render_extra_section(&mut parts)?;
    }
    let name = verb.get_bin_name().unwrap_or(verb.get_name());
    writeln!(out, ".SH \"{}\"", name.to_uppercase())?;
    // The headings of a verb stand one level below its own.
    let parts = String::from_utf8_lossy(&parts);
    parts.lines().try_for_each(|line| match line.strip_prefix(".SH ") {
        Some(heading) => writeln!(out, ".SS {heading}"),
        None => writeln!(out, "{line}"),
    })
}
