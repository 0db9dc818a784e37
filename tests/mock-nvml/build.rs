//! Makes the library look like the driver's.

fn main() {
    // What asks the loader for the driver's library by name then finds this one, if it was loaded before.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libnvidia-ml.so.1");
    // Stays loaded, so that events delivered to one session are not delivered again to the next.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
}
