"""Work streams, agent queues, presence and the lease: one port, two backends."""
