//! Verbs and flags.

mod agent;
mod backup;
mod completion;
mod connection;
mod context;
mod dev;
mod doctor;
mod endpoint;
mod engine;
mod events;
mod get;
mod identity;
mod issuer;
mod key;
mod node;
mod root;
mod schema;
mod shared;
mod values;
mod verbs;

pub(crate) use self::{
    agent::AgentArgs,
    dev::{DevArgs, DevGpus, DevVerb},
    engine::{EngineExecArgs, EngineShimArgs, SimEngineArgs},
};
pub(super) use self::{
    backup::{BackupArgs, RestoreArgs},
    completion::Shell,
    connection::Connection,
    context::{ContextSetArgs, ContextVerb},
    doctor::{BugreportArgs, DoctorArgs, TopArgs, TopPage},
    endpoint::{
        ApplyArgs, DeleteArgs, ExportArgs, LogsArgs, PlanArgs, RolloutTarget, RolloutUndo, RolloutVerb, ScaleArgs,
        WaitFor, WaitForArgs, WhyArgs,
    },
    engine::EngineVerb,
    events::EventArgs,
    get::{DescribeArgs, GetArgs, Resource},
    identity::{InitArgs, JoinArgs, TokenCreateArgs, TokenVerb},
    issuer::{IssuerSignArgs, IssuerVerb},
    key::{KeyCreateArgs, KeyUsageArgs, KeyVerb},
    node::{DrainArgs, NodeArgs, NodeVerb, UndrainArgs},
    root::RootVerb,
    schema::{ConfigVerb, ExplainArgs, PageOf, SchemaOf},
    shared::{OutputArgs, WaitArgs},
    values::label_map,
    verbs::{Cli, Command, Verb},
};
