export const socketIo = { id: "socketio", label: "Socket.IO", waits: "waits in the server, on one connection", holdsConnection: false,
  async subscribe() { throw new Error("not yet"); } };
