//! `frameloop completions SHELL`.

use clap::Args;
use clap_complete::Shell;

use crate::failure::Failure;
use crate::output;

/// Print the completion script of a shell
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// Shell to print completions for
    shell: Shell,
}

pub(crate) fn run(args: &CompletionsArgs, mut whole: clap::Command) -> Result<(), Failure> {
    // The generator panics when it cannot write, so it writes to memory.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut whole, "frameloop", &mut script);
    output::bytes(&script)
}
