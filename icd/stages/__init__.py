"""The stages of all chains, one file a kind; `chain` reads and builds chains, `runner` checks, plans and runs them."""
