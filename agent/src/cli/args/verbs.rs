//! The verbs, and what all of them take.

use clap::{Parser, Subcommand};

use super::{
    AgentArgs, ApplyArgs, BackupArgs, BugreportArgs, ConfigVerb, Connection, ContextVerb, DeleteArgs, DescribeArgs,
    DevArgs, DoctorArgs, DrainArgs, EngineVerb, EventArgs, ExplainArgs, ExportArgs, GetArgs, InitArgs, IssuerVerb,
    JoinArgs, KeyVerb, LogsArgs, NodeVerb, OutputArgs, PageOf, PlanArgs, RestoreArgs, RolloutVerb, RootVerb, ScaleArgs,
    Shell, SimEngineArgs, TokenVerb, TopArgs, UndrainArgs, WaitForArgs, WhyArgs,
};
use crate::simulate::SimulateArgs;

const EXIT_CODES: &str = "Exit codes: 0 done; 1 failed, or degraded (status); 2 accepted, but not ready; \
3 daemon or node not reachable; 4 not allowed; 5 not found; 6 changed by somebody else meanwhile; \
64 wrong usage or document; 124 time-out. `plan` has \
its own, see its help.";

/// Serve LLMs from GPU hosts in many clusters, with no controller.
#[derive(Debug, Parser)]
#[command(name = "shoal", version, after_help = EXIT_CODES, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) connection: Connection,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
#[allow(clippy::large_enum_variant)] // there is one per process
pub(crate) enum Command {
    #[command(flatten)]
    Verb(Verb),
    #[command(flatten)]
    Engine(EngineVerb),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Run the daemon of this host
    Agent(AgentArgs),
    /// Make a new mesh, with this host as its first node
    Init(InitArgs),
    /// Make this host a node of a mesh
    Join(JoinArgs),
    /// Make, list and revoke the tokens that nodes join with
    #[command(subcommand)]
    Token(TokenVerb),
    /// List the nodes that admit others, make one, give one a new key
    #[command(subcommand)]
    Issuer(IssuerVerb),
    /// Give the mesh another root: make it, watch, drop the old one
    #[command(subcommand)]
    Root(RootVerb),
    /// Make, list and revoke the keys that clients show, and see what they use
    #[command(subcommand)]
    Key(KeyVerb),
    /// Create or change endpoints from YAML
    Apply(ApplyArgs),
    /// Show nodes, endpoints, replicas, keys, tokens or events
    Get(GetArgs),
    /// Show all about one node, endpoint or replica, and why it is as it is
    Describe(DescribeArgs),
    /// Show what happened, to whom, why, and who did it
    Events(EventArgs),
    /// Delete endpoints
    Delete(DeleteArgs),
    /// Print endpoints as YAML that `apply` takes
    Export(ExportArgs),
    /// Change how many replicas endpoints have, and nothing else
    Scale(ScaleArgs),
    /// Wait until endpoints or nodes are ready, or gone; exit 124 if they are not in time
    Wait(WaitForArgs),
    /// Show what a replica's engine prints
    Logs(LogsArgs),
    /// Move everything off a node, replacements first
    Drain(DrainArgs),
    /// Take a drained node, or a GPU of it that had a fault, back into use
    Undrain(UndrainArgs),
    /// Shut nodes out of the mesh
    #[command(subcommand)]
    Node(NodeVerb),
    /// Show why replicas of an endpoint are where they are, or why a request went where it did
    Why(WhyArgs),
    /// Show what applying a file would do; exit 0 nothing, 1 changes, 2 something finds no place
    Plan(PlanArgs),
    /// Watch and steer how a new revision takes the place of the one before
    #[command(subcommand)]
    Rollout(RolloutVerb),
    /// Show the mesh in one screen; exit 1 if it needs attention
    Status(OutputArgs),
    /// Show nodes, endpoints and requests as they change
    Top(TopArgs),
    /// Look for what is wrong with this host and its ways to others; exit 1 if something is
    Doctor(DoctorArgs),
    /// Write what somebody who helps would ask for to a file
    Bugreport(BugreportArgs),
    /// Explain a field of an endpoint, or of a node's configuration
    Explain(ExplainArgs),
    /// Write specs, keys, tokens and revocations of the mesh into a file
    Backup(BackupArgs),
    /// Put back what a backup has and the mesh has not
    Restore(RestoreArgs),
    /// Print JSON Schemas for editors
    #[command(subcommand)]
    Config(ConfigVerb),
    /// Print what a shell reads to complete verbs, flags and names
    Completion {
        /// Of which shell
        shell: Shell,
    },
    /// Name meshes that are talked to from elsewhere, and choose one
    #[command(subcommand)]
    Context(ContextVerb),
    /// Run a whole mesh of real daemons on this host, to try shoal
    Dev(DevArgs),
    /// Run the spot policy, and others, against a trace of capacity
    Simulate(SimulateArgs),
    /// Write a page of the documentation that is made of the program
    #[command(hide = true)]
    Reference {
        /// Which
        of: PageOf,
    },
    /// The simulated engine, as the daemon starts it
    #[command(hide = true)]
    SimEngine(SimEngineArgs),
}
