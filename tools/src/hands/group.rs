//! `popstore group`: make groups, change them, and list them.

use std::io::Write;

use popstore::{Group, GroupOptions, StartAt, Store};

use super::On;
use super::settings::Settings;
use crate::{Failure, Outcome, directory, rows};

/// Make groups, change them, and list them
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Make a group; makes the store where it is missing
    ///
    /// An existing group gets these settings and its position stays; those not given are as for a new group. To
    /// change only some, use `group set`.
    Create {
        #[command(flatten)]
        of: Of,
        /// Begin behind the newest message instead of at the oldest
        #[arg(long)]
        newest: bool,
    },
    /// Change settings of an existing group; those not given stay
    #[command(mut_group("Settings", |settings| settings.required(true)))]
    Set(Of),
    /// List the groups, as their last owner left them; also while the store is open elsewhere
    List(On),
}

/// A group, and settings for it.
#[derive(Debug, clap::Args)]
struct Of {
    #[command(flatten)]
    on: On,
    /// Its name
    group: String,
    #[command(flatten)]
    settings: Settings,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Outcome, Failure> {
    match &args.verb {
        Verb::Create { of, newest } => {
            let start_at = if *newest { StartAt::Newest } else { StartAt::Oldest };
            let options = of.settings.change(GroupOptions::default().start_at(start_at));
            let store = directory::open_or_make(&of.on.dir, |store| store.check_group(&of.group, &options))?;
            finish(of, store.create_group(&of.group, options)?, store, out)
        }
        Verb::Set(of) => {
            let store = directory::open(&of.on.dir)?;
            let options = of.settings.change(store.group(&of.group)?.options()?);
            finish(of, store.create_group(&of.group, options)?, store, out)
        }
        Verb::List(on) => {
            let snapshot = directory::inspect(&on.dir)?;
            let groups = snapshot.groups().into_iter();
            let groups = groups.filter_map(|stats| Some((snapshot.group_options(&stats.name)?, stats)));
            let groups: Vec<_> = groups.map(|(options, stats)| (stats, options)).collect();
            rows::show_groups(&groups, on.json, out)?;
            Ok(super::seen(&snapshot))
        }
    }
}

/// Closes the store, and shows the group as it is now.
fn finish(of: &Of, group: Group, store: Store, out: &mut dyn Write) -> Result<Outcome, Failure> {
    let shown = (group.stats()?, group.options()?);
    drop(group);
    directory::close(store);
    rows::show_groups(&[shown], of.on.json, out)?;
    Ok(Outcome::Fine)
}
