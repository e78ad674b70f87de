"""The kubelet's gRPC messages, generated from the .proto files beside them.

After a change: python -m grpc_tools.protoc -I operator/src --python_out=operator/src --pyi_out=operator/src \
operator/src/kneescale/agent/proto/*.proto
"""
