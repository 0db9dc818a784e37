//! A program of the operator that knows whether there is a notice.

use std::{path::Path, time::Duration};

use super::{
    config::NoticeCommandConfig,
    finding::{Finding, one_line},
    poll::{Ask, AskError},
    statement::{notice_text, statement},
};
use crate::program::{Finished, run};

/// Longest run of the program.
pub(super) const DEADLINE: Duration = Duration::from_secs(10);

/// Status of a program that found no notice.
const NO_NOTICE: i32 = 0;
/// Status of a program that found one. Shells and `sysexits.h` leave it free.
const NOTICE: i32 = 10;

/// Asks the program.
#[derive(Debug)]
pub(super) struct NoticeCommand {
    pub(super) config: NoticeCommandConfig,
    pub(super) deadline: Duration,
}

impl Ask for NoticeCommand {
    async fn ask(&mut self) -> Result<Option<Finding>, AskError> {
        let NoticeCommandConfig { program, args, .. } = &self.config;
        let Finished { status, stdout, stderr } = run(program, args, b"", self.deadline).await?;
        let refused = || AskError::Status { program: program.clone(), status, stderr: one_line(&stderr) };
        parse(status.code(), &stdout, program).ok_or_else(refused)
    }
}

/// What `program` says if it ended with `status`, if anything.
fn parse(status: Option<i32>, stdout: &str, program: &Path) -> Option<Option<Finding>> {
    match status {
        Some(NO_NOTICE) => Some(statement(stdout)),
        Some(NOTICE) => Some(Some(notice_text(stdout, &format!("{} says so", program.display())))),
        Some(_) | None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notices::finding::Deadline;

    #[test]
    fn the_exit_status_decides() {
        const STATED: &str = r#"{"deadline": "1m"}"#;
        let minute = Some(Deadline::In(Duration::from_secs(60)));
        for (status, stdout, said) in [
            (Some(0), "", Some(None)),
            (Some(0), "all is well", Some(None)),
            (Some(0), STATED, Some(minute)),
            (Some(10), "", Some(Some(Deadline::Unsaid))),
            (Some(10), "moving out", Some(Some(Deadline::Unsaid))),
            (Some(10), STATED, Some(minute)),
            (Some(1), STATED, None),
            (None, STATED, None),
        ] {
            let parsed =
                parse(status, stdout, Path::new("/bin/notice")).map(|finding| finding.map(|finding| finding.deadline));
            assert_eq!(parsed, said, "{status:?} {stdout}");
        }
    }

    async fn ask(script: &str, deadline: Duration) -> Result<Option<Finding>, AskError> {
        let args = vec!["-c".to_owned(), script.to_owned()];
        let interval = shoal_types::HumanDuration::from_secs(1);
        let config = NoticeCommandConfig { program: "/bin/sh".into(), args, interval };
        NoticeCommand { config, deadline }.ask().await
    }

    #[tokio::test]
    async fn a_program_is_run_and_its_failures_are_told() {
        let said = ask("echo moving out; exit 10", Duration::from_secs(60)).await.unwrap();
        assert_eq!(said.unwrap().detail, "moving out");
        let error = ask("echo no route >&2; exit 7", Duration::from_secs(60)).await.unwrap_err().to_string();
        assert!(error.contains("/bin/sh ended with exit status: 7") && error.ends_with("no route"), "{error}");
        let late = ask("sleep 600", Duration::from_millis(100)).await;
        assert!(matches!(late, Err(AskError::Process(_))), "{late:?}");
    }
}
