"""Everything at once on a real Kafka, and somebody who keeps killing it: nothing may be lost, doubled or untrue."""
