//! `nucleon walk --live`: the real packet is sent from a guest's port and looked for on its way,
//! by way of the API and the hosts' agents, or in a lab.

use crate::Outcome;
use crate::ask;
use crate::source::{Source, client, open_lab};
use ::agent::questions::capture::{self, Frame};
use lab::client::Client;
use lab::{Lab, frame};
use serde_json::{Value, json};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;
use uuid::Uuid;
use walk::bytes::Mark;
use walk::live::{Experiment, Watch, prepare};
use walk::question::Question;
use walk::world::World;

/// So long is looked everywhere.
const SECONDS: u64 = 8;
/// When the frame is sent, in seconds after looking began: whoever looks needs a moment to begin,
/// and a switch may lose the first frame while it looks for a tunnel's other end.
const SENT_AT: [u64; 3] = [2, 4, 6];
/// A capture with so many frames ended before its time.
const MOST: usize = 1000;

/// Sends and looks.
enum Hosts {
    Api(Client),
    Lab(Box<Lab>),
}

/// The process ends with 0 when what was seen is what was foretold, 1 when not, 3 when nobody
/// could look anywhere.
pub(crate) fn run(source: &Source, world: &World, question: &Question, as_json: bool) -> Outcome {
    let hosts = match &source.lab {
        Some(name) => Hosts::Lab(Box::new(open_lab(name, source.lab_dir.as_ref())?)),
        None => Hosts::Api(client(source)?),
    };
    let mark = Mark(Uuid::new_v4().as_u64_pair().0);
    let mut experiment = prepare(world, question, mark, matches!(hosts, Hosts::Lab(_)))?;
    let watches = experiment.watches();
    let seen = thread::scope(|scope| {
        let looking: Vec<_> = watches
            .iter()
            .map(|watch| scope.spawn(|| hosts.look(watch)))
            .collect();
        let sent = send_thrice(&hosts, &experiment);
        let failed = || Err("looking failed".to_owned());
        let seen: Vec<_> = looking
            .into_iter()
            .map(|looking| looking.join().unwrap_or_else(|_| failed()))
            .collect();
        sent.map(|()| seen)
    })?;
    for (watch, frames) in watches.iter().zip(&seen) {
        experiment.saw(watch, frames.as_deref().map_err(String::as_str));
    }
    if as_json {
        println!("{}", serde_json::to_string_pretty(&experiment.to_json())?);
    } else {
        print!("{}", experiment.print());
    }
    Ok(match experiment.disagreement() {
        _ if !experiment.watched() => ExitCode::from(3),
        Some(_) => ExitCode::from(1),
        None => ExitCode::SUCCESS,
    })
}

fn send_thrice(hosts: &Hosts, experiment: &Experiment) -> Result<(), String> {
    let mut now = 0;
    for at in SENT_AT {
        thread::sleep(Duration::from_secs(at - now));
        now = at;
        hosts.send(experiment)?;
    }
    Ok(())
}

impl Hosts {
    fn send(&self, experiment: &Experiment) -> Result<(), String> {
        let hex = frame::to_hex(&experiment.frame);
        match self {
            Hosts::Api(client) => {
                let (bridge, port) = &experiment.entry;
                let frame = json!({"bridge": bridge, "port": port, "frame": hex});
                ask::host_with(client, &experiment.host, "inject", Some(&frame)).map(drop)
            }
            Hosts::Lab(lab) => {
                let mut guests = lab.guests().values();
                let guest = guests.find(|guest| guest.port.id.to_string() == experiment.port);
                let guest = guest.ok_or("the lab has no such guest")?;
                let place = lab
                    .place(&guest.name)
                    .map_err(|error| crate::chain(&error))?;
                let binary = std::env::current_exe().map_err(|error| error.to_string())?;
                let binary = binary.display().to_string();
                let argv = [&binary, "lab-send", "eth0", &hex];
                place
                    .run(&argv)
                    .map(drop)
                    .map_err(|error| crate::chain(&error))
            }
        }
    }

    fn look(&self, watch: &Watch) -> Result<Vec<Vec<u8>>, String> {
        let mut request = json!({
            "device": watch.device, "filter": watch.filter, "frames": MOST, "seconds": SECONDS,
        });
        if let Some(namespace) = &watch.namespace {
            request["namespace"] = json!(namespace);
        }
        let frames = match self {
            Hosts::Api(client) => {
                let answer = ask::host_with(client, &watch.host, "capture", Some(&request))?;
                frames(&answer["frames"])?
            }
            Hosts::Lab(lab) => {
                let request: capture::Request =
                    serde_json::from_value(request).map_err(|error| error.to_string())?;
                let place = lab
                    .place(&watch.host)
                    .map_err(|error| crate::chain(&error))?;
                let place = match &watch.namespace {
                    Some(namespace) => place.netns(namespace),
                    None => place,
                };
                let said = place.run(&request.argv());
                capture::read(&said.map_err(|error| crate::chain(&error))?)
            }
        };
        if frames.len() >= MOST {
            return Err("too much passes there".to_owned());
        }
        let bytes = frames.iter().map(|frame| frame::from_hex(&frame.bytes));
        bytes
            .collect::<Result<_, _>>()
            .map_err(|error| crate::chain(&error))
    }
}

fn frames(answer: &Value) -> Result<Vec<Frame>, String> {
    serde_json::from_value(answer.clone()).map_err(|error| error.to_string())
}
