//! A new file in the migrations' folder is a reason to build: the compiler sees only those that it has read.

fn main() {
    println!("cargo:rerun-if-changed=../../migrations/marketplace");
}
