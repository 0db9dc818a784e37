//! What a replica is, written down so that the next daemon can take it over.

use std::{io, path::Path};

use serde::{Deserialize, Serialize};
use shoal_types::EngineAddress;

use crate::{LaunchPlan, json_file};

/// Name of the record in a replica's directory.
const FILE: &str = "replica.json";
/// Name of that of a gateway.
const GATEWAY_FILE: &str = "gateway.json";

/// One replica and its current launch.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ReplicaRecord {
    pub(crate) plan: LaunchPlan,
    pub(crate) address: EngineAddress,
    pub(crate) stage: Stage,
}

/// What the next daemon needs to know of how far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Stage {
    /// It has not served since its launch.
    Starting,
    /// It has served: its first token need not be asked for again.
    Served,
    /// It sleeps.
    Asleep,
    /// It is to end, or has failed for good: nobody takes it over.
    Ending,
}

impl ReplicaRecord {
    /// Writes it into the directory of the replica.
    pub(crate) fn write(&self, directory: &Path) -> io::Result<()> {
        json_file::write(&directory.join(FILE), self)
    }

    /// That of `directory`, if there is one.
    pub(crate) fn read(directory: &Path) -> io::Result<Option<Self>> {
        json_file::read(&directory.join(FILE))
    }
}

/// One gateway. Nothing of it runs without a daemon: the next one only has to know that it is there.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct GatewayRecord {
    pub(crate) plan: LaunchPlan,
}

impl GatewayRecord {
    /// Writes it into the directory of the replica.
    pub(crate) fn write(&self, directory: &Path) -> io::Result<()> {
        json_file::write(&directory.join(GATEWAY_FILE), self)
    }

    /// That of `directory`, if there is one.
    pub(crate) fn read(directory: &Path) -> io::Result<Option<Self>> {
        json_file::read(&directory.join(GATEWAY_FILE))
    }
}
