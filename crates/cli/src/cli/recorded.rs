//! Arguments of the verbs that work on what was recorded.

use std::path::PathBuf;

use clap::Args;

/// The journal as the place that events come from.
#[derive(Debug, Args)]
pub struct JournalArgs {
    /// Take them from the systemd journal, where `events --to-journal` put them
    #[arg(long)]
    pub journal: bool,
    /// Only those since then, as journalctl understands it: "-1h", "yesterday"
    #[arg(long, value_name = "TIME", requires = "journal")]
    pub since: Option<String>,
}

/// Where events come from.
#[derive(Debug, Args)]
pub struct EventsSource {
    /// File of `bpftrust events --json`; default the history of the guard that runs
    #[arg(long, value_name = "FILE", conflicts_with = "journal")]
    pub events: Option<PathBuf>,
    /// Or the journal.
    #[command(flatten)]
    pub journal: JournalArgs,
}

/// Arguments of `events`.
#[derive(Debug, Args)]
#[command(after_help = "\
In the journal an event has the fields that --json prints, each as BPFTRUST_ and its name in capitals, \
and all of them in BPFTRUST_EVENT. `journalctl -t bpftrust BPFTRUST_REASON=no-signature` finds events by \
them. With --to-journal it begins where the journal ends, so a unit may start it anew.")]
pub struct EventsArgs {
    /// Only events after the one with this number
    #[arg(
        long,
        value_name = "SEQUENCE",
        default_value_t = 0,
        hide_default_value = true,
        conflicts_with_all = ["journal", "to_journal"]
    )]
    pub after: u64,
    /// Wait for more
    #[arg(long)]
    pub follow: bool,
    /// Print one line of JSON per event
    #[arg(long)]
    pub json: bool,
    /// Where from, if not from the guard.
    #[command(flatten)]
    pub source: JournalArgs,
    /// Write them to the systemd journal, and nothing to the terminal
    #[arg(long, conflicts_with_all = ["journal", "json"])]
    pub to_journal: bool,
}

/// Arguments of `propose`.
#[derive(Debug, Args)]
#[command(after_help = "\
DIR gets a grant for each loader, with the least rights that would have sufficed; sign.sh, the \
commands that sign them; and policy.toml, which trusts the certificate for them and for no more. \
Nothing is signed or changed: read it first.

Record in audit mode (`bpftrust enforce --audit`), where every call goes on and all that it takes is \
told. A loader whose file is not the recorded one any more is named and left out.

Exit status: 0 all is proposed, 1 something was left out or events were lost, 2 could not be done.")]
pub struct ProposeArgs {
    /// The events.
    #[command(flatten)]
    pub source: EventsSource,
    /// Directory for the files; must be new or empty
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Private key that is to sign: named in sign.sh, not read
    #[arg(long, value_name = "KEY.pem")]
    pub key: PathBuf,
    /// Certificate of that key, for the policy
    #[arg(long, value_name = "CERT.pem")]
    pub certificate: PathBuf,
    /// Who signs, as the policy is to call him
    #[arg(long, value_name = "NAME", default_value = "host")]
    pub publisher: String,
}

/// Arguments of `replay`.
#[derive(Debug, Args)]
#[command(after_help = "\
What was recorded is judged anew: signatures and files as they are now, under a policy that need not \
be in force. Nothing is executed or changed.

Exit status: 0 nothing would be refused, 1 something would, 2 could not tell.")]
pub struct ReplayArgs {
    /// Policy file; default /etc/bpftrust/policy.toml
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// The events.
    #[command(flatten)]
    pub source: EventsSource,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `metrics`.
#[derive(Debug, Args)]
pub struct MetricsArgs {
    /// Write them to this file, such as one that node_exporter's textfile collector reads
    ///
    /// It is replaced wholly: no reader sees a part.
    #[arg(long, value_name = "FILE.prom")]
    pub textfile: Option<PathBuf>,
    /// Serve them by HTTP on this unix socket, in the form of OpenMetrics, until killed
    ///
    /// Who may write to the socket may read them; that is root, unless the umask says
    /// otherwise.
    #[arg(long, value_name = "SOCKET", conflicts_with = "textfile")]
    pub listen: Option<PathBuf>,
}

/// Arguments of `report`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Write one HTML page to this file, instead of text to the terminal
    #[arg(long, value_name = "FILE.html")]
    pub out: Option<PathBuf>,
    /// The events.
    #[command(flatten)]
    pub source: EventsSource,
    /// Policy file; default /etc/bpftrust/policy.toml
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
}
