//! The server, as an agent sees it: a stream of what this host needs of intent, and reports of
//! what became of it.
mod dial;
pub(crate) mod held;
mod intake;
mod watch;

pub use dial::{Dial, DialError};
pub(crate) use held::write_whole;
pub use held::{Held, HoldReason, Mark};
pub use intake::{Base, Intake, Step};
pub use watch::{Agent, Question, Report, Server, Told};
