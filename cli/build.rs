//! How the program is linked.

fn main() {
    // At a fixed place: relocating 78,000 pointers at each start costs more than all else that a
    // stage of an environment or a fixture does until it runs (5.6 against 3.5 ms), and a cell of
    // a matrix starts many.
    println!("cargo:rustc-link-arg-bins=-no-pie");
}
