//! The whole crate in one process: real sockets to clients and engines, tunnels in memory, engines that do what the
//! test says.

#[cfg(test)]
mod bounds;
#[cfg(test)]
mod broken;
#[cfg(test)]
mod cancel;
#[cfg(test)]
mod choosing;
#[cfg(test)]
mod demand;
#[cfg(test)]
mod holding;
#[cfg(test)]
mod http2;
#[cfg(test)]
mod keys;
#[cfg(test)]
mod lifecycle;
#[cfg(test)]
mod observing;
#[cfg(test)]
mod provider;
#[cfg(test)]
mod queueing;
#[cfg(test)]
mod resume;
#[cfg(test)]
mod retry;
#[cfg(test)]
mod revisions;
#[cfg(test)]
mod streaming;
#[cfg(test)]
mod support;
#[cfg(test)]
mod surface;
#[cfg(test)]
mod tls;
#[cfg(test)]
mod tunnels;
