//! The command line.

use std::path::PathBuf;

use crate::Result;

const HELP: &str = "\
cargo bench --bench peers -- [OPTIONS]

  --quick            7 rounds of 0.5 s each (default; some 8 minutes in all)
  --full             11 rounds of 2 s each
  --rows NAME,NAME   only these rows; `--rows list` names them
  --rounds R         counted rounds of each row, after one that is not counted
  --seconds S        length of one measured window
  --server CMD       measure this instead of frameloop: any command that prints
                     `listening on 127.0.0.1:PORT`
  --json FILE        also write the figures, with every sample, as JSON";

/// What is to be measured, and how long.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) rows: Vec<String>,
    pub(crate) rounds: usize,
    pub(crate) seconds: f64,
    pub(crate) warmup: f64,
    pub(crate) server: Option<String>,
    pub(crate) json: Option<PathBuf>,
}

impl Options {
    fn quick() -> Self {
        Self { rows: Vec::new(), rounds: 7, seconds: 0.5, warmup: 0.2, server: None, json: None }
    }

    /// The longer run; what was chosen besides the lengths stays.
    fn lengthen(&mut self) {
        self.rounds = 11;
        self.seconds = 2.0;
        self.warmup = 0.5;
    }
}

/// `None` when the command line only asked for help.
pub(crate) fn parse(mut args: impl Iterator<Item = String>) -> Result<Option<Options>> {
    let mut options = Options::quick();
    let (mut rounds, mut seconds) = (None, None);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} needs a value"));
        match arg.as_str() {
            // Cargo passes --bench to every benchmark.
            "--bench" | "--quick" => {}
            "--full" => options.lengthen(),
            "--rows" => options.rows = value()?.split(',').map(str::to_owned).collect(),
            "--rounds" => rounds = Some(value()?.parse()?),
            "--seconds" => seconds = Some(value()?.parse()?),
            "--server" => options.server = Some(value()?),
            "--json" => options.json = Some(value()?.into()),
            "--help" | "-h" => {
                println!("{HELP}");
                return Ok(None);
            }
            _ => return Err(format!("unknown option {arg}\n{HELP}").into()),
        }
    }
    if options.rows == ["list"] {
        crate::rows::print_names();
        return Ok(None);
    }
    // Said outright, these hold wherever --full stands beside them.
    options.rounds = rounds.unwrap_or(options.rounds);
    options.seconds = seconds.unwrap_or(options.seconds);
    let sensible = options.rounds > 0 && options.seconds > 0.0 && options.seconds <= 60.0;
    if !sensible {
        return Err("--rounds starts at 1, --seconds lies above 0 and at most at 60".into());
    }
    Ok(Some(options))
}
