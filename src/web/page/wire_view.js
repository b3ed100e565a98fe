export function showWire(panel, lane) { panel.textContent = JSON.stringify(lane.exchange); }
