//! `frameloop man [COMMAND]`.

use clap::Args;
use clap::error::ErrorKind;
use clap_mangen::Man;

use crate::failure::Failure;
use crate::output;

/// Print a manual page, as roff
#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// Command whose page to print, such as serve [default: frameloop itself]
    command: Option<String>,
}

pub(crate) fn run(args: &ManArgs, mut whole: clap::Command) -> Result<(), Failure> {
    whole.build();
    let page = match &args.command {
        None => Man::new(whole),
        Some(name) => match whole.find_subcommand(name) {
            Some(command) => Man::new(command.clone()),
            None => {
                let message = format!("there is no command {name:?} to print the page of");
                return Err(whole.error(ErrorKind::InvalidValue, message).into());
            }
        },
    };
    let mut roff = Vec::new();
    page.render(&mut roff).map_err(Failure::run)?;
    output::bytes(&roff)
}
