//! What any tool left behind, on the machine or in the network of this process.
