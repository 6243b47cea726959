//! docs/REFERENCE.md has every command and flag, as clap defines them.

use std::collections::BTreeMap;
use std::fmt::Write;

use clap::{Arg, Command};

#[path = "../../../tests/support/document.rs"]
mod document;

#[test]
fn reference_page_has_every_command_and_flag() {
    let mut whole = crate::command();
    whole.build();
    let mut page = String::from("\n## Every command\n\n");
    flags(&mut page, &whole, whole.get_arguments().filter(|arg| arg.is_global_set()));
    let commands: Vec<&Command> = whole.get_subcommands().filter(|command| command.get_name() != "help").collect();
    for command in &commands {
        section(&mut page, command);
    }
    page.push('\n');
    document::check("REFERENCE.md", "commands", &page);
    document::check("REFERENCE.md", "variables", &shared_variables(&commands));
}

fn section(page: &mut String, command: &Command) {
    let about = command.get_long_about().or(command.get_about()).unwrap().to_string();
    let positionals: String = command.get_positionals().map(|arg| format!(" {arg}")).collect();
    write!(page, "\n## `{}`\n\n", command.get_name()).unwrap();
    write!(page, "`frameloop {} [OPTIONS]{positionals}`\n\n{}\n", command.get_name(), escaped(&about)).unwrap();
    let own = || command.get_arguments().filter(|arg| !arg.is_global_set() && arg.get_id() != "help");
    let mut headings: Vec<Option<&str>> = Vec::new();
    for heading in own().map(Arg::get_help_heading) {
        if !headings.contains(&heading) {
            headings.push(heading);
        }
    }
    for heading in headings {
        page.push('\n');
        if let Some(heading) = heading {
            write!(page, "{heading}:\n\n").unwrap();
        }
        flags(page, command, own().filter(|arg| arg.get_help_heading() == heading));
    }
    if let Some(after) = command.get_after_help() {
        write!(page, "\n```text\n{after}\n```\n").unwrap();
    }
}

fn flags<'a>(page: &mut String, command: &Command, args: impl Iterator<Item = &'a Arg>) {
    page.push_str("| flag | variable | default | meaning |\n|---|---|---|---|\n");
    for arg in args {
        let short = arg.get_short().map_or_else(String::new, |short| format!("-{short}, "));
        let variable = variable(arg).map_or_else(String::new, |name| format!("`{name}`"));
        let (default, meaning) = (default(arg), meaning(command, arg));
        writeln!(page, "| `{short}{arg}` | {variable} | {default} | {meaning} |").unwrap();
    }
}

/// The variables that several commands read.
fn shared_variables(commands: &[&Command]) -> String {
    let mut variables = BTreeMap::<String, Vec<(&str, String, String)>>::new();
    for command in commands {
        for arg in command.get_arguments().filter(|arg| !arg.is_global_set()) {
            if let Some(variable) = variable(arg) {
                let meaning = (command.get_name(), help(arg).lines().next().unwrap().to_owned(), default(arg));
                variables.entry(variable).or_default().push(meaning);
            }
        }
    }
    let mut table = String::from("\n| variable | command | meaning | default |\n|---|---|---|---|\n");
    for (variable, meanings) in variables {
        if meanings.len() > 1 {
            for (command, meaning, default) in &meanings {
                writeln!(table, "| `{variable}` | `{command}` | {} | {default} |", escaped(meaning)).unwrap();
            }
        }
    }
    table + "\n"
}

fn variable(arg: &Arg) -> Option<String> {
    arg.get_env().map(|name| name.to_string_lossy().into_owned())
}

fn help(arg: &Arg) -> String {
    arg.get_long_help().or(arg.get_help()).map_or_else(String::new, ToString::to_string)
}

/// The default that is a value, or the one that the help text describes.
fn default(arg: &Arg) -> String {
    let values: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    let described =
        || help(arg).split_once("[default: ").and_then(|(_, rest)| Some(rest.split_once(']')?.0.to_owned()));
    match arg.get_action().takes_values() {
        true if values.is_empty() => described().unwrap_or_default(),
        true => values.join(","),
        false => "off".into(),
    }
}

fn meaning(command: &Command, arg: &Arg) -> String {
    let help = help(arg).replace(&format!(" [default: {}]", default(arg)), "");
    let mut sentences: Vec<String> = help.split("\n\n").map(escaped).collect();
    if !arg.is_hide_possible_values_set() && arg.get_action().takes_values() {
        let values = arg.get_possible_values();
        let values = values.iter().map(|value| match value.get_help() {
            Some(help) => format!("`{}` ({help})", value.get_name()),
            None => format!("`{}`", value.get_name()),
        });
        sentences.push(values.collect::<Vec<_>>().join(", "));
    }
    let excludes =
        |one: &Arg, other: &Arg| command.get_arg_conflicts_with(one).iter().any(|arg| arg.get_id() == other.get_id());
    let others = command.get_arguments().filter(|other| excludes(arg, other) || excludes(other, arg));
    let excluded: Vec<String> = others.filter_map(|other| Some(format!("`--{}`", other.get_long()?))).collect();
    if !excluded.is_empty() {
        sentences.push(format!("Excludes {}", excluded.join(", ")));
    }
    let ended = sentences.iter().filter(|sentence| !sentence.is_empty()).map(|sentence| sentence.trim_end_matches('.'));
    ended.collect::<Vec<_>>().join(". ")
}

/// Text in which Markdown sees no markup.
fn escaped(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "\\<").replace('*', "\\*")
}
