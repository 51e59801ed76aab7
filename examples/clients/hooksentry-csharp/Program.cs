// HookSentry's documentation, "Create", "Get" and "Revoke API Key": C#.
// Adapted: host and access token. Added around the original lines: printing the responses and reading the id, which
// the documentation leaves to its reader.
using System;
using System.Net.Http;
using System.Net.Http.Headers;
using System.Net.Http.Json;
using System.Text.Json;

var host = Environment.GetEnvironmentVariable("LATCHKEY_URL");
var accessToken = Environment.GetEnvironmentVariable("LATCHKEY_ACCESS_TOKEN");
string apiKeyId;

{
    var request = new HttpRequestMessage(HttpMethod.Post, $"{host}/api/v1/apikeys")
    {
        Content = JsonContent.Create(new { name = "Production Key" })
    };
    request.Headers.Authorization = new AuthenticationHeaderValue("Bearer", accessToken);
    using var client = new HttpClient();
    var response = await client.SendAsync(request);

    var text = await response.Content.ReadAsStringAsync();
    Console.WriteLine(text);
    apiKeyId = JsonDocument.Parse(text).RootElement.GetProperty("id").GetString()!;
}

{
    var request = new HttpRequestMessage(HttpMethod.Get,
        $"{host}/api/v1/apikeys?Qt=10&Pg=1&CpOrd=id&TpOrd=Desc");
    request.Headers.Authorization = new AuthenticationHeaderValue("Bearer", accessToken);
    using var client = new HttpClient();
    var response = await client.SendAsync(request);

    Console.WriteLine(await response.Content.ReadAsStringAsync());
}

{
    var request = new HttpRequestMessage(HttpMethod.Delete, $"{host}/api/v1/apikeys/{apiKeyId}");
    request.Headers.Authorization = new AuthenticationHeaderValue("Bearer", accessToken);
    using var client = new HttpClient();
    var response = await client.SendAsync(request);

    Console.WriteLine(await response.Content.ReadAsStringAsync());
}
