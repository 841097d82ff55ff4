"""Generated from protos/lastgood/v1. Needs protobuf and grpcio; the rest of `lastgood` never imports it."""
