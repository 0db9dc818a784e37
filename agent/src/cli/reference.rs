//! The pages of `docs/` that are made of the program: every verb with its flags, every field of an endpoint.

use std::fmt::Write as _;

use clap::{Arg, Command, CommandFactory as _};

use super::{
    args::{Cli, PageOf},
    output::out,
    schema::endpoint_reference,
};
use crate::admin::Problem;

const HEAD: &str = "\
# Command line reference

Made of the program's own help; do not edit. [The command line](cli.md) says how to connect, what is printed, and what exit
codes mean.

## Flags of every verb
";

/// The hidden verb that writes them: `cargo run -- reference cli > docs/cli-reference.md`.
pub(super) fn run(of: PageOf) -> Result<(), Problem> {
    out(&page(of))
}

fn page(of: PageOf) -> String {
    match of {
        PageOf::Cli => verbs(),
        PageOf::Endpoint => endpoint_reference(),
    }
}

fn verbs() -> String {
    let mut root = Cli::command();
    // Gives subcommands their whole names, and the flags of every verb.
    root.build();
    let mut page = HEAD.to_owned();
    page += &table(root.get_arguments().filter(|arg| arg.is_global_set() && is_shown(arg)));
    section(&mut page, &root);
    page
}

fn section(page: &mut String, command: &Command) {
    for verb in command.get_subcommands().filter(|verb| is_told(verb)) {
        let name = verb.get_bin_name().unwrap_or_else(|| verb.get_name());
        let about = verb.get_about().map(ToString::to_string).unwrap_or_default();
        // Writing to a String cannot fail.
        let _ = writeln!(page, "\n## `{name}`\n\n{about}.\n");
        if verb.has_subcommands() {
            let verbs = verb.get_subcommands().filter(|verb| is_told(verb));
            for verb in verbs {
                let about = verb.get_about().map(ToString::to_string).unwrap_or_default();
                let _ = writeln!(page, "* `{}`: {about}", verb.get_bin_name().unwrap_or_else(|| verb.get_name()));
            }
        }
        if !verb.has_subcommands() || verb.get_arguments().any(is_own) {
            let usage = verb.clone().render_usage().to_string();
            let _ = writeln!(page, "```\n{}\n```", usage.trim_start_matches("Usage: "));
            *page += &table(verb.get_arguments().filter(|arg| is_own(arg)));
        }
        section(page, verb);
    }
}

fn is_told(verb: &Command) -> bool {
    !verb.is_hide_set() && verb.get_name() != "help"
}

/// Whether it is shown, and not one of every verb.
fn is_own(arg: &Arg) -> bool {
    !arg.is_global_set() && is_shown(arg)
}

fn is_shown(arg: &Arg) -> bool {
    !arg.is_hide_set() && !["help", "version"].contains(&arg.get_id().as_str())
}

fn table<'a>(args: impl Iterator<Item = &'a Arg>) -> String {
    let rows: String = args.map(row).collect();
    if rows.is_empty() { rows } else { format!("\n| flag | meaning |\n|---|---|\n{rows}") }
}

fn row(arg: &Arg) -> String {
    let names: Vec<String> =
        [arg.get_short().map(|short| format!("-{short}")), arg.get_long().map(|long| format!("--{long}"))]
            .into_iter()
            .flatten()
            .collect();
    let value = if arg.get_action().takes_values() {
        let values = arg.get_value_names().unwrap_or_default();
        values.iter().map(|value| value.to_string()).collect::<Vec<_>>().join(" ")
    } else {
        String::new()
    };
    let flag = [names.join(", "), value].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ");
    let mut meaning = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let choices: Vec<String> =
        arg.get_possible_values().iter().map(|choice| format!("`{}`", choice.get_name())).collect();
    // A flag without a value has true and false, which nobody types.
    if !choices.is_empty() && arg.get_action().takes_values() {
        let _ = write!(meaning, "; one of {}", choices.join(", "));
    }
    let defaults: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    if !defaults.is_empty() && arg.get_action().takes_values() {
        let _ = write!(meaning, "; default `{}`", defaults.join(","));
    }
    if let Some(variable) = arg.get_env() {
        let _ = write!(meaning, "; or `{}`", variable.to_string_lossy());
    }
    format!("| `{}` | {} |\n", flag.replace('|', "\\|"), meaning.replace('|', "\\|"))
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;
    use crate::admin::Code;

    #[test]
    fn every_exit_code_is_written_down() {
        let written = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/cli.md")).unwrap();
        let help = Cli::command().render_help().to_string();
        for code in [
            Code::Failed,
            Code::NotReady,
            Code::Unreachable,
            Code::Forbidden,
            Code::NotFound,
            Code::Conflict,
            Code::Invalid,
            Code::Timeout,
        ] {
            let row = format!("| {} | `{code}` |", code.exit_code());
            assert!(written.contains(&row), "docs/cli.md has no row {row}");
            assert!(help.contains(&format!(" {} ", code.exit_code())), "{help}");
        }
    }

    #[test]
    fn the_pages_are_those_of_this_program() {
        for (of, word, file) in
            [(PageOf::Cli, "cli", "cli-reference.md"), (PageOf::Endpoint, "endpoint", "endpoint-reference.md")]
        {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(file);
            let written = fs::read_to_string(&path).unwrap_or_default();
            assert!(
                written == page(of),
                "docs/{file} is not what the program says; write it anew: cargo run -- reference {word} > docs/{file}"
            );
        }
    }
}
