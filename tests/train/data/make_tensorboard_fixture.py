# Writes tensorboard.tfevents, the expected bytes of tensorboard_test.cpp, with the reference package:
#   pip install tensorboard && python make_tensorboard_fixture.py
import os
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.compat.proto.types_pb2 import DT_STRING
from tensorboard.summary.writer.record_writer import RecordWriter

events = [
    Event(wall_time=1700000000.25, file_version="brain.Event:2"),
    Event(wall_time=1700000000.5, step=301, session_log=SessionLog(status=SessionLog.START)),
    Event(wall_time=1700000001.0, step=301, summary=Summary(value=[
        Summary.Value(tag="train/loss", simple_value=2.5),
        Summary.Value(tag="train/learning_rate", simple_value=3e-4)])),
    Event(wall_time=1700000002.0, step=70000, summary=Summary(value=[
        Summary.Value(tag="config",
                      tensor=TensorProto(dtype=DT_STRING, tensor_shape=TensorShapeProto(),
                                         string_val=[b"# a\n\n| b |"]),
                      metadata=SummaryMetadata(
                          plugin_data=SummaryMetadata.PluginData(plugin_name="text"), data_class=2))])),
    Event(wall_time=1700000003.0, step=0, summary=Summary()),
]
with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "tensorboard.tfevents"), "wb") as file:
    writer = RecordWriter(file)
    for event in events:
        writer.write(event.SerializeToString())
    writer.flush()
