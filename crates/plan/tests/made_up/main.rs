//! Hosts that nobody recorded: single cases of layer 2 and security groups (`cases`), and properties
//! that hold over random intent (`properties`).

mod cases;
mod properties;
mod world;
