//! The program of an engine kind: whether it is there, before a launch would find that it is not, and its command line.

use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    path::{Path, PathBuf},
};

use rustix::fs::{Access, access};

use super::{Environment, allow::Rules};
use crate::{LaunchPlan, ProgramConfig, RefusalReason, process::CommandLine};

/// A program with what its node and its spec add to it, which is allowed.
#[derive(Debug)]
pub(super) struct Program {
    path: PathBuf,
    args: Vec<OsString>,
    env: Environment,
}

impl Program {
    /// # Errors
    /// If the spec's `args` or `env` are not allowed, or the program is not there.
    pub(super) fn new(
        rules: &Rules,
        config: &ProgramConfig,
        args: &[String],
        env: &BTreeMap<String, String>,
        path: Option<&OsString>,
    ) -> Result<Self, RefusalReason> {
        rules.check(args, env, config)?;
        Ok(Self {
            path: find(&config.binary, path)?,
            args: args.iter().map(OsString::from).collect(),
            env: config.env.iter().chain(env).map(|(name, value)| (name.into(), value.into())).collect(),
        })
    }

    /// `own` arguments, then those of the spec; the environment is `inherited`, the node's and the spec's, and `fixed`,
    /// each over the one before.
    pub(super) fn command_line<'a>(
        &self,
        own: Vec<OsString>,
        fixed: impl IntoIterator<Item = (&'a str, &'a str)>,
        plan: &LaunchPlan,
        inherited: &Environment,
    ) -> CommandLine {
        let mut env = inherited.clone();
        env.extend(self.env.clone());
        env.extend(fixed.into_iter().map(|(name, value)| (name.into(), value.into())));
        env.insert("CUDA_VISIBLE_DEVICES".into(), plan.gpu_list().into());
        let args = own.into_iter().chain(self.args.iter().cloned()).collect();
        CommandLine { program: self.path.clone(), args, env: env.into_iter().collect() }
    }
}

/// `program` as it will be executed: one without a `/` is looked for on `path`.
///
/// # Errors
/// [`RefusalReason::NoProgram`].
pub(super) fn find(program: &Path, path: Option<&OsString>) -> Result<PathBuf, RefusalReason> {
    let found = if program.components().count() > 1 {
        Some(program.to_owned()).filter(|file| is_executable(file))
    } else {
        path.and_then(|path| env::split_paths(path).map(|dir| dir.join(program)).find(|file| is_executable(file)))
    };
    found.ok_or_else(|| RefusalReason::NoProgram(program.display().to_string()))
}

fn is_executable(file: &Path) -> bool {
    file.is_file() && access(file, Access::EXEC_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_an_executable_file() {
        let path = OsString::from("/no/such:/usr/bin:/bin");
        assert!(find(Path::new("sh"), Some(&path)).is_ok_and(|found| found.is_absolute()));
        assert_eq!(find(Path::new("/bin/sh"), None), Ok("/bin/sh".into()));
        for missing in ["no-such-program", "/no/such/program", "/etc/passwd", "/bin"] {
            assert_eq!(find(Path::new(missing), Some(&path)), Err(RefusalReason::NoProgram(missing.to_owned())));
        }
        assert!(find(Path::new("sh"), None).is_err());
    }
}
