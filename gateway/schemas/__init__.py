"""The contract for machines: JSON Schemas and an AsyncAPI document, made from the structs that the gateway runs on."""
