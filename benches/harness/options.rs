//! The command line.

use std::path::PathBuf;

use crate::failure::Result;
use crate::rounds::Rounds;

const HELP: &str = "\
cargo bench --bench peers -- [OPTIONS]

  --quick            3 rounds of 0.2 s each (default; less than five minutes in all)
  --full             9 rounds of 0.5 s each, after one that is not counted; all rows of servers
  --rows NAME,NAME   only these rows, or groups of rows: `main` (default), `server`, `generator`,
                     `all`; `--rows list` names them
  --against NAME,..  only these peers; `none` for the floor alone, `list` names them
  --rounds R         counted rounds of each row
  --seconds S        length of one measured window
  --server CMD       measure this instead of `frameloop serve`: any command that prints
                     `listening on 127.0.0.1:PORT`
  --previous BINARY  also measure another build of frameloop in the same run, to compare the two
  --check            measure nothing: check that each server answers as it should
  --output FOLDER    write result.json (every sample), result.md and the plots (SVG) there
                     (default target/figures)
  --from FILE        measure nothing: show the figures of a result.json";

/// What is to be measured, and how long.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) rows: Vec<String>,
    /// `None`: all of them.
    pub(crate) against: Option<Vec<String>>,
    pub(crate) rounds: Rounds,
    pub(crate) seconds: f64,
    pub(crate) warmup: f64,
    pub(crate) run_in: f64,
    pub(crate) server: Option<String>,
    /// Another build of frameloop, to compare with this one.
    pub(crate) previous: Option<String>,
    pub(crate) output: PathBuf,
    pub(crate) from: Option<PathBuf>,
    pub(crate) check: bool,
    /// As it was typed.
    pub(crate) command: String,
}

impl Options {
    fn quick() -> Self {
        Self {
            rows: vec!["main".into()],
            against: None,
            rounds: Rounds { counted: 3, uncounted: 0 },
            seconds: 0.2,
            warmup: 0.1,
            run_in: 1.0,
            server: None,
            previous: None,
            output: "target/figures".into(),
            from: None,
            check: false,
            command: String::new(),
        }
    }

    /// The longer run; what was chosen besides the lengths stays.
    fn lengthen(&mut self) {
        self.rounds = Rounds { counted: 9, uncounted: 1 };
        self.seconds = 0.5;
        self.warmup = 0.3;
        self.run_in = 5.0;
        if self.rows == ["main"] {
            self.rows = vec!["server".into()];
        }
    }
}

/// `None` when the command line only asked for a list or for help.
pub(crate) fn parse(args: &[String]) -> Result<Option<Options>> {
    let mut options = Options::quick();
    let (mut rounds, mut seconds) = (None, None);
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        let mut value = || rest.next().cloned().ok_or(format!("{arg} needs a value"));
        match arg.as_str() {
            // Cargo passes --bench to every benchmark.
            "--bench" | "--quick" => {}
            "--full" => options.lengthen(),
            "--rows" => options.rows = names(&value()?),
            "--against" => options.against = Some(names(&value()?)).filter(|names| names != &["all"]),
            "--rounds" => rounds = Some(value()?.parse()?),
            "--seconds" => seconds = Some(value()?.parse()?),
            "--server" => options.server = Some(value()?),
            "--previous" => options.previous = Some(value()?),
            "--check" => options.check = true,
            "--output" => options.output = value()?.into(),
            "--from" => options.from = Some(value()?.into()),
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
    if options.against.as_deref() == Some(&["list".to_owned()]) {
        crate::peers::NAMES.iter().for_each(|name| println!("{name}"));
        return Ok(None);
    }
    // Given explicitly, these take precedence over --full, wherever it stands.
    options.rounds.counted = rounds.unwrap_or(options.rounds.counted);
    options.seconds = seconds.unwrap_or(options.seconds);
    let sensible = options.rounds.counted > 0 && options.seconds > 0.0 && options.seconds <= 60.0;
    if !sensible {
        return Err("--rounds starts at 1, --seconds lies above 0 and at most at 60".into());
    }
    let said: Vec<_> = args.iter().filter(|arg| *arg != "--bench").map(String::as_str).collect();
    options.command =
        format!("cargo bench --bench peers -- {}", said.join(" ")).trim_end_matches([' ', '-']).to_owned();
    Ok(Some(options))
}

fn names(list: &str) -> Vec<String> {
    list.split(',').map(str::to_owned).collect()
}
