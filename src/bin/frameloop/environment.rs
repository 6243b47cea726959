//! Flags from the environment, together with those that are typed.
//!
//! Rule: a typed flag overrides its variable and those of the flags that it conflicts with; a variable that is empty, or
//! false where the flag takes no value, counts as unset.

use std::ffi::{OsStr, OsString};

use clap::builder::{BoolishValueParser, TypedValueParser};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, Id};

/// Parses arguments, the program's name first, and what `variable` holds of the environment.
pub(crate) fn parse(
    whole: &Command,
    args: impl IntoIterator<Item = OsString>,
    variable: impl Fn(&OsStr) -> Option<OsString>,
) -> Result<ArgMatches, clap::Error> {
    let args: Vec<OsString> = args.into_iter().collect();
    let mut ignored = Vec::new();
    // Without a command, and where help is asked for, there is nothing to decide.
    if let Some((name, typed)) = typed(whole, &args).as_ref().and_then(ArgMatches::subcommand) {
        let mut built = whole.clone();
        built.build();
        if let Some(command) = built.find_subcommand_mut(name) {
            ignored = ignored_variables(command, typed, variable).map_err(|conflict| {
                // What is typed comes first.
                without_variables(whole.clone(), &|_| true).try_get_matches_from(&args).err().unwrap_or(conflict)
            })?;
        }
    }
    let command = without_variables(whole.clone(), &|arg| ignored.contains(arg.get_id()));
    command.try_get_matches_from(&args).map_err(|error| with_its_variable(whole, error, &args))
}

/// The variable of a flag that had another name before: the old one, if only that is set.
pub(crate) fn renamed(name: &'static str, old_name: &'static str) -> &'static str {
    let is_old = std::env::var_os(name).is_none() && std::env::var_os(old_name).is_some();
    if is_old { old_name } else { name }
}

/// Says that a refused value comes from a variable, if its flag was not typed.
fn with_its_variable(whole: &Command, mut error: clap::Error, args: &[OsString]) -> clap::Error {
    let Some(ContextValue::String(flag)) = error.get(ContextKind::InvalidArg) else { return error };
    let typed = typed(whole, args);
    let Some((name, typed)) = typed.as_ref().and_then(ArgMatches::subcommand) else { return error };
    let mut built = whole.clone();
    built.build();
    let arg =
        built.find_subcommand(name).and_then(|command| command.get_arguments().find(|arg| arg.to_string() == *flag));
    if let Some(arg) = arg
        && let Some(variable) = arg.get_env()
        && typed.value_source(arg.get_id().as_str()) != Some(ValueSource::CommandLine)
        && error.kind() != ErrorKind::ArgumentConflict
    {
        let tip = format!("the value comes from {}", variable.to_string_lossy());
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    }
    error
}

/// What is typed, as far as it can be parsed: the errors are those of the whole.
fn typed(whole: &Command, args: &[OsString]) -> Option<ArgMatches> {
    without_variables(whole.clone(), &|_| true).ignore_errors(true).try_get_matches_from(args).ok()
}

/// The command without the variables of some flags.
fn without_variables(command: Command, is_ignored: &dyn Fn(&Arg) -> bool) -> Command {
    let drop_variable = |arg: Arg| if is_ignored(&arg) { arg.env(None::<&str>) } else { arg };
    command.mut_args(drop_variable).mut_subcommands(|command| without_variables(command, is_ignored))
}

/// The flags of `command` whose variables do not count.
fn ignored_variables(
    command: &mut Command,
    typed: &ArgMatches,
    variable: impl Fn(&OsStr) -> Option<OsString>,
) -> Result<Vec<Id>, clap::Error> {
    let is_typed = |arg: &Arg| typed.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine);
    let is_overridden =
        |arg: &Arg| command.get_arguments().any(|other| is_typed(other) && conflict(command, arg, other));
    let (mut ignored, mut counting) = (Vec::new(), Vec::new());
    for arg in command.get_arguments() {
        let Some(name) = arg.get_env() else { continue };
        let value = variable(name).filter(|value| is_set(command, arg, value));
        if value.is_none() || is_overridden(arg) {
            ignored.push(arg.get_id().clone());
        } else if !is_typed(arg) {
            counting.push((arg, name));
        }
    }
    for (at, (arg, name)) in counting.iter().enumerate() {
        if let Some((_, other)) = counting[at + 1..].iter().find(|(other, _)| conflict(command, arg, other)) {
            let (name, other) = (name.to_string_lossy(), other.to_string_lossy());
            let message =
                format!("{name} and {other} are both set and exclude each other: unset one, or type the flag");
            return Err(command.error(ErrorKind::ArgumentConflict, message));
        }
    }
    Ok(ignored)
}

fn conflict(command: &Command, one: &Arg, other: &Arg) -> bool {
    let names = |one: &Arg, other: &Arg| {
        command.get_arg_conflicts_with(one).iter().any(|conflicting| conflicting.get_id() == other.get_id())
    };
    names(one, other) || names(other, one)
}

fn is_set(command: &Command, arg: &Arg, value: &OsStr) -> bool {
    let is_false = || matches!(BoolishValueParser::new().parse_ref(command, None, value), Ok(false));
    match arg.get_action() {
        ArgAction::SetTrue | ArgAction::SetFalse | ArgAction::Count => !value.is_empty() && !is_false(),
        _ => !value.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of which a flag takes at least one.
    const SAMPLES: [&str; 9] = ["1", "1s", "x", "p99<1s", "basic", "one-frame", "127.0.0.1:7", "1/2", "rate"];

    fn commands() -> Vec<Command> {
        let mut whole = crate::command();
        whole.build();
        whole.get_subcommands().cloned().collect()
    }

    /// Pairs of flags that exclude each other.
    fn conflicts(command: &Command) -> Vec<(&Arg, &Arg)> {
        let all: Vec<&Arg> = command.get_arguments().collect();
        let pairs = all.iter().flat_map(|one| all.iter().map(move |other| (*one, *other)));
        pairs.filter(|(one, other)| one.get_id() != other.get_id() && conflict(command, one, other)).collect()
    }

    /// The command line of a flag, or of a command alone.
    fn typing(command: &Command, arg: Option<&Arg>) -> ArgMatches {
        let line = |sample: Option<&str>| {
            let flag = arg.map(|arg| arg.get_long().map_or_else(String::new, |long| format!("--{long}")));
            let words = ["frameloop", command.get_name()].into_iter().chain(flag.as_deref()).chain(sample);
            let words: Vec<OsString> = words.filter(|word| !word.is_empty()).map(OsString::from).collect();
            typed(&crate::command(), &words)?.subcommand().map(|(_, typed)| typed.clone())
        };
        let is_typed = |typed: &ArgMatches| {
            arg.is_none_or(|arg| typed.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine))
        };
        let samples = [None].into_iter().chain(SAMPLES.map(Some));
        let found = samples.filter_map(line).find(is_typed);
        found.unwrap_or_else(|| panic!("{} takes none of the samples: add one", arg.unwrap().get_id()))
    }

    /// The flags whose variables are ignored, with these set.
    fn ignored(command: &Command, typed: &ArgMatches, set: &[(&Arg, &str)]) -> Result<Vec<Id>, String> {
        let variable = |name: &OsStr| {
            let found = set.iter().find(|(arg, _)| arg.get_env() == Some(name));
            found.map(|(_, value)| OsString::from(value))
        };
        ignored_variables(&mut command.clone(), typed, variable).map_err(|error| error.to_string())
    }

    #[test]
    fn empty_variable_of_any_flag_counts_as_unset() {
        for command in &commands() {
            for arg in command.get_arguments().filter(|arg| arg.get_env().is_some()) {
                let typed = typing(command, None);
                assert!(ignored(command, &typed, &[(arg, "")]).unwrap().contains(arg.get_id()), "{arg}");
                assert!(!ignored(command, &typed, &[(arg, "1")]).unwrap().contains(arg.get_id()), "{arg}");
            }
        }
    }

    #[test]
    fn false_variable_of_any_flag_without_a_value_counts_as_unset() {
        let mut count = 0;
        for command in &commands() {
            let flags =
                command.get_arguments().filter(|arg| arg.get_env().is_some() && !arg.get_action().takes_values());
            for arg in flags {
                for value in ["false", "FALSE", "0", "no", "off", "n", "f"] {
                    let typed = typing(command, None);
                    assert!(ignored(command, &typed, &[(arg, value)]).unwrap().contains(arg.get_id()), "{arg}");
                    count += 1;
                }
            }
        }
        assert!(count > 30, "{count}");
    }

    #[test]
    fn flag_overrides_variables_that_it_conflicts_with() {
        let mut count = 0;
        for command in &commands() {
            for (flag, other) in conflicts(command) {
                if other.get_env().is_some() {
                    let typed = typing(command, Some(flag));
                    let ignored = ignored(command, &typed, &[(other, "1"), (flag, "1")]).unwrap();
                    assert!(ignored.contains(other.get_id()), "--{flag} and the variable of --{other}");
                    count += 1;
                }
            }
        }
        assert!(count >= 14, "{count}");
    }

    #[test]
    fn two_variables_that_conflict_are_an_error_that_names_both() {
        for command in &commands() {
            for (one, other) in conflicts(command) {
                let (Some(name), Some(other_name)) = (one.get_env(), other.get_env()) else { continue };
                let refused = ignored(command, &typing(command, None), &[(one, "1"), (other, "1")]).unwrap_err();
                for name in [name, other_name] {
                    assert!(refused.contains(name.to_str().unwrap()), "{refused}");
                }
                // Where one of them does not count, there is no conflict.
                assert!(ignored(command, &typing(command, None), &[(one, "1"), (other, "")]).is_ok());
            }
        }
    }
}
